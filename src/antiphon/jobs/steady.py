"""A clock for what cannot be undone: it does not follow jumps at once."""

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
        self._believed = self._seen = clock.now() - clock.monotonic()
        self._seen_at = clock.monotonic()

    def now(self) -> float:
        """Unix seconds. To be asked again and again: a jump is noticed between two looks."""
        return self.believed(self._clock.now())

    def believed(self, wall: float) -> float:
        """As `now`, of another wall clock, which shows `wall`: a database's."""
        monotonic = self._clock.monotonic()
        ahead = wall - monotonic  # only changes when somebody sets the wall clock
        if abs(ahead - self._seen) > limits.CLOCK_DRIFT:
            self._seen, self._seen_at = ahead, monotonic
        near = abs(ahead - self._believed) <= limits.CLOCK_DRIFT
        if near or monotonic - self._seen_at >= limits.CLOCK_DOUBT:
            self._believed = ahead
        return min(wall, monotonic + self._believed)
