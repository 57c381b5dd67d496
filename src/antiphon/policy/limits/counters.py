"""The counters of rate limits, in this process's memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from antiphon.domain import limits
from antiphon.domain.rates import Counter, Demand, Meter, Reading, Refusal

#: Counters that are looked at when one has to be forgotten.
_CANDIDATES = 16


class Counters:
    """Implements `ports.RateCounters`. With several servers, each counts for itself."""

    def __init__(self, monotonic: Callable[[], int], size: int = limits.MAX_RATE_COUNTERS) -> None:
        """`monotonic`: the time in nanoseconds."""
        self._monotonic = monotonic
        self._size = size
        self._counters: OrderedDict[tuple[str, ...], Counter] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counters)

    async def take(
        self, use: Sequence[Demand], hold: Sequence[Demand], check: Sequence[Demand] = ()
    ) -> tuple[Refusal | None, list[Reading]]:
        """All or nothing; see the port."""
        now = self._monotonic()
        demands = (*use, *hold, *check)
        counters = [self._settled(demand.meter, now) for demand in demands]
        pairs = [*zip(counters, demands, strict=True)]
        refusals = [refusal for counter, demand in pairs if (refusal := counter.refuses(demand)) is not None]
        refused = _worst(refusals) if refusals else None
        if refused is None:
            for counter, demand in zip(counters, use, strict=False):
                counter.use(demand)
            for counter, demand in zip(counters[len(use) :], hold, strict=False):
                counter.hold(demand.amount)
        readings = [counter.reading(demand.meter) for counter, demand in pairs]
        if len(self._counters) > self._size:
            self._shrink()
        return refused, readings

    def give_back(self, held: Sequence[Demand], used: int) -> None:
        """Let go of what was held; `used` of it has come to be used."""
        now = self._monotonic()
        for demand in held:
            counter = self._settled(demand.meter, now)
            counter.hold(-demand.amount)
            counter.use(Demand(demand.meter, used))

    def _settled(self, meter: Meter, now: int) -> Counter:
        counter = self._counters.get(meter.name)
        if counter is None:
            counter = self._counters[meter.name] = Counter(meter, now)
        else:
            counter.settle(meter, now)
            self._counters.move_to_end(meter.name)
        return counter

    def _shrink(self) -> None:
        """Forget counters that were not asked for the longest, until there are few enough; of those, empty ones first.

        One that somebody will give back to is kept: there are no more of those than calls.
        """
        while len(self._counters) > self._size:
            oldest = [name for _, name in zip(range(_CANDIDATES), self._counters, strict=False)]
            free = [name for name in oldest if not self._counters[name].busy]
            if not free:
                for name in oldest:
                    self._counters.move_to_end(name)
                return
            del self._counters[next((name for name in free if self._counters[name].idle), free[0])]


def _worst(refusals: Iterable[Refusal]) -> Refusal | None:
    """The refusal that holds the longest: waiting for it is enough for all."""
    return max(refusals, key=lambda refusal: float("inf") if refusal.wait is None else refusal.wait, default=None)
