"""The time."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """The time, so that tests can set it."""

    def now(self) -> float:
        """Unix seconds."""

    def monotonic(self) -> float:
        """Seconds that never go backwards, for measuring."""
