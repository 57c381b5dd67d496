"""What a server logs, line by line."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Iterator
from typing import Any

from antiphon.telemetry import logs
from support.quiet import quiet


class Lines:
    """JSON lines of a log."""

    def __init__(self) -> None:
        self.file = io.StringIO()

    @property
    def text(self) -> str:
        """Everything, as it was written."""
        return self.file.getvalue()

    def all(self) -> list[dict[str, Any]]:
        """Every line."""
        return [json.loads(line) for line in self.text.splitlines()]

    def requests(self) -> list[dict[str, Any]]:
        """The lines of requests and calls."""
        return [line for line in self.all() if line["event"] == "request"]


@contextlib.contextmanager
def logged(level: logs.Level = "info") -> Iterator[Lines]:
    """Have everything logged as JSON until the block is left."""
    lines = Lines()
    with contextlib.redirect_stderr(lines.file):
        logs.configure(level, "json")
    try:
        yield lines
    finally:
        logs.unconfigure()
        quiet()
    assert sys.stderr is not lines.file
