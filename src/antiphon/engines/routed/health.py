"""What is known of a target, for all routes that use it: its breaker, its load, its speed, and whether it rests."""

from __future__ import annotations

import math
from dataclasses import dataclass
from weakref import WeakValueDictionary

from antiphon.domain import limits
from antiphon.domain.route_trace import TargetName
from antiphon.engines.routed.breaker import Breaker, State


@dataclass(frozen=True, slots=True)
class TargetState:
    """A target as it is now, for metrics. `latency_ms`: to its first token, on average; None: not known.

    `rests`: seconds that it has still asked to be left alone for.
    """

    target: TargetName
    breaker: State
    outstanding: int
    latency_ms: float | None
    rests: float
    calls: int
    failures: int


class Health:
    """The health of one target. Every method gets the time (monotonic seconds)."""

    def __init__(self, target: TargetName) -> None:
        self.target = target
        self.breaker = Breaker()
        #: Calls that are being answered.
        self.outstanding = 0
        self.calls = 0
        self.failures = 0
        self._resting_until = 0.0
        #: Whether it rests because of a rate limit.
        self.limited = False
        self._latency = math.nan
        self._measured_at = 0.0

    def admits(self, now: float) -> bool:
        """Whether a call may go there now."""
        return now >= self._resting_until and self.breaker.admits(now)

    def back_at(self, now: float) -> float:
        """When a call may go there again (monotonic seconds)."""
        return max(self._resting_until, self.breaker.opens_at(now))

    def rest(self, until: float, *, limited: bool) -> None:
        """It has asked to be left alone."""
        self._resting_until = max(self._resting_until, until)
        self.limited = limited

    def resting(self, now: float) -> bool:
        """Whether it has asked to be left alone still."""
        return now < self._resting_until

    def measured(self, seconds: float, now: float) -> None:
        """A first token came after this time."""
        if math.isnan(self._latency):
            self._latency = seconds
        else:
            self._latency += (seconds - self._latency) * limits.LATENCY_SHARE
        self._measured_at = now

    def latency(self, now: float) -> float | None:
        """Seconds to the first token, on average; what was measured long ago counts ever less. None: not known."""
        if math.isnan(self._latency):
            return None
        return float(self._latency * 0.5 ** ((now - self._measured_at) / limits.LATENCY_HALF_LIFE))

    def snapshot(self, now: float) -> TargetState:
        """As it is now."""
        return TargetState(
            target=self.target,
            breaker=self.breaker.state(now),
            outstanding=self.outstanding,
            latency_ms=None if math.isnan(self._latency) else round(self._latency * 1000, 1),
            rests=max(0.0, self._resting_until - now),
            calls=self.calls,
            failures=self.failures,
        )


class Healths:
    """The health of every target that some route uses; what none uses any more is forgotten."""

    def __init__(self) -> None:
        self._healths: WeakValueDictionary[TargetName, Health] = WeakValueDictionary()

    def of(self, target: TargetName) -> Health:
        """The one health of this target."""
        health = self._healths.get(target)
        if health is None:
            health = self._healths[target] = Health(target)
        return health

    def all(self) -> list[Health]:
        """Every health, by target."""
        return sorted(self._healths.values(), key=lambda health: str(health.target))
