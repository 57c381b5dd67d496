"""The real time."""

from __future__ import annotations

import time


class SystemClock:
    """The machine's clock (see `ports.Clock`)."""

    def now(self) -> float:
        """Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never go backwards."""
        return time.monotonic()
