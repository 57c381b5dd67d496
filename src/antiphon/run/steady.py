"""A clock for what cannot be undone."""

from __future__ import annotations

from antiphon.domain import limits
from antiphon.ports import Clock


class SteadyTime:
    """The wall clock, as far as it can be believed: for deleting what has expired.

    A clock that is set forward, by hand, by a wrong time server or by a machine that was copied, is not followed until
    it has stayed so for `limits.CLOCK_DOUBT`: meanwhile time goes on from where it was. One that is set back is
    followed at once, since then nothing is deleted too early.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._believed = self._seen = self._ahead()
        self._seen_at = clock.monotonic()

    def _ahead(self) -> float:
        """Seconds that the wall clock is ahead of the monotonic one. They only change when somebody sets it."""
        return self._clock.now() - self._clock.monotonic()

    def now(self) -> float:
        """Unix seconds. To be asked again and again: a jump is noticed between two looks."""
        ahead, monotonic = self._ahead(), self._clock.monotonic()
        if abs(ahead - self._seen) > limits.CLOCK_DRIFT:
            self._seen, self._seen_at = ahead, monotonic
        near = abs(ahead - self._believed) <= limits.CLOCK_DRIFT
        if near or monotonic - self._seen_at >= limits.CLOCK_DOUBT:
            self._believed = ahead
        return min(self._clock.now(), monotonic + self._believed)
