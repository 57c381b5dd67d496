"""Model files from a model hub, through huggingface_hub.

It runs in a child process (`hub_child`): its import costs tens of megabytes, which the server would keep.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from antiphon.models.catalog import HubSource, Model
from antiphon.models.child import SourceFailed, run
from antiphon.models.progress import Progress


def fetch(source: HubSource, model: Model, work: Path, part: Path, progress: Progress) -> None:
    """Fetch the file into `part`. What was fetched before an interruption stays in `work`. Raises `SourceFailed`."""
    target = _target(work)

    def arrived() -> int:
        size = _size(target)
        progress.update(min(size, model.bytes), model.bytes)
        return size

    command = [sys.executable, "-m", "antiphon.models.hub_child", source.repository, source.path, str(target)]
    code, errors = run(command, {**os.environ, "HF_HUB_DISABLE_TELEMETRY": "1"}, arrived)
    if code != 0:
        lines = errors.strip().splitlines()
        raise SourceFailed(lines[-1] if lines else "the download ended without a reason")
    arrived()
    target.replace(part)


def missing_bytes(model: Model, work: Path) -> int:
    """Bytes that `fetch` would still download."""
    return max(0, model.bytes - _size(_target(work)))


def _target(work: Path) -> Path:
    return work / "hub.part"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
