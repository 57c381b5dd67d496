"""A circuit breaker: a target that fails is left alone for a while, and then tried with one call at a time.

No I/O, and no clock of its own: every method gets the time (monotonic seconds).
"""

from __future__ import annotations

from collections import deque
from typing import Literal

from antiphon.domain import limits

State = Literal["closed", "open", "half_open"]

#: Parts of the window that outcomes are counted in.
_SLICES = 10
_SLICE = limits.BREAKER_WINDOW / _SLICES


class Breaker:
    """The breaker of one target.

    closed -> open: too many failures in a row, or too large a share of the last seconds' calls.
    open -> half_open: its time has passed. One call is let through, the probe.
    half_open -> closed: the probe was answered. half_open -> open, for twice as long: it was not.
    """

    def __init__(self) -> None:
        self._in_a_row = 0
        #: Time slice, calls, failures.
        self._slices: deque[list[int]] = deque()
        self._open_until: float | None = None
        self._open_for = limits.BREAKER_OPEN
        #: Until when a probe is waited for; after that, another may be made.
        self._probe_until: float | None = None

    def state(self, now: float) -> State:
        """What it is now."""
        if self._open_until is None:
            return "closed"
        return "open" if now < self._open_until else "half_open"

    def admits(self, now: float) -> bool:
        """Whether a call may go to the target now."""
        if self._open_until is None:
            return True
        if now < self._open_until:
            return False
        return self._probe_until is None or now >= self._probe_until

    def opens_at(self, now: float) -> float:
        """When it may admit a call (monotonic seconds); `now` if it does already."""
        if self.admits(now):
            return now
        assert self._open_until is not None
        if now < self._open_until:
            return self._open_until
        assert self._probe_until is not None
        return self._probe_until

    def enter(self, now: float) -> bool:
        """A call goes to the target, which was admitted. Whether it is a probe."""
        if self._open_until is None:
            return False
        self._probe_until = now + limits.BREAKER_PROBE
        return True

    def succeeded(self, now: float) -> None:
        """A call was answered."""
        self._in_a_row = 0
        if self._open_until is not None:
            self._close()
        else:
            self._count(now, failed=False)

    def failed(self, now: float, *, probe: bool = False) -> None:
        """A call failed, and the target is to blame. `probe`: as `enter` said of the call."""
        if self._open_until is not None:
            # A call from before it opened tells nothing new; a probe does, unless another has told it already.
            if probe and now >= self._open_until:
                self._open_for = min(self._open_for * 2, limits.BREAKER_OPEN_MAX)
                self._open(now)
            return
        self._in_a_row += 1
        self._count(now, failed=True)
        if self._in_a_row >= limits.BREAKER_FAILURES or self._too_many():
            self._open(now)

    def abandoned(self, *, probe: bool) -> None:
        """A call ended before anything could be told of the target. Another may be the probe then."""
        if probe:
            self._probe_until = None

    def _open(self, now: float) -> None:
        self._open_until = now + self._open_for
        self._probe_until = None

    def _close(self) -> None:
        self._open_until = None
        self._open_for = limits.BREAKER_OPEN
        self._probe_until = None
        self._slices.clear()

    def _count(self, now: float, *, failed: bool) -> None:
        number = int(now / _SLICE)
        slices = self._slices
        if not slices or slices[-1][0] != number:
            slices.append([number, 0, 0])
            while slices[0][0] <= number - _SLICES:
                slices.popleft()
        slices[-1][1] += 1
        slices[-1][2] += failed

    def _too_many(self) -> bool:
        calls = sum(each[1] for each in self._slices)
        failures = sum(each[2] for each in self._slices)
        return calls >= limits.BREAKER_SAMPLES and failures >= calls * limits.BREAKER_RATE
