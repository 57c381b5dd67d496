"""Model files from a model hub, through huggingface_hub.

It runs in a child process (`hub_child`): its import costs tens of megabytes, which the server would keep.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from antiphon.domain import limits
from antiphon.models.catalog import HubSource, Model
from antiphon.models.child import SourceFailed, run
from antiphon.models.files import size_of_tree
from antiphon.models.progress import Progress

#: Plain HTTP downloads can be resumed after an interruption, and their bytes can be seen as they arrive.
_SETTINGS = {
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DOWNLOAD_TIMEOUT": str(limits.PULL_CONNECT_TIMEOUT),
    "HF_HUB_ETAG_TIMEOUT": str(limits.PULL_CONNECT_TIMEOUT),
}


def fetch(source: HubSource, model: Model, work: Path, part: Path, progress: Progress) -> None:
    """Fetch the file into `part`. What was fetched before an interruption stays in `work`. Raises `SourceFailed`."""
    target = work / "hub"
    target.mkdir(parents=True, exist_ok=True)

    def arrived() -> int:
        size = size_of_tree(target)
        progress.update(min(size, model.bytes), model.bytes)
        return size

    command = [sys.executable, "-m", "antiphon.models.hub_child", source.repository, source.path, str(target)]
    code, errors = run(command, {**os.environ, **_SETTINGS}, arrived)
    if code != 0:
        lines = errors.strip().splitlines()
        raise SourceFailed(lines[-1] if lines else "the download ended without a reason")
    progress.update(model.bytes, model.bytes)
    (target / source.path).replace(part)


def missing_bytes(model: Model, work: Path) -> int:
    """Bytes that `fetch` would still download."""
    return max(0, model.bytes - size_of_tree(work / "hub"))
