"""How a download tells what it is doing."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told about a download, a few times a second at most."""

    def update(self, done: int, total: int) -> None:
        """`done` of `total` bytes are here."""

    def note(self, text: str) -> None:
        """Something worth a line: waiting for another pull, a source that failed, a file that is being verified."""


class Silent:
    """Tells nobody."""

    def update(self, done: int, total: int) -> None:
        """Ignored."""

    def note(self, text: str) -> None:
        """Ignored."""
