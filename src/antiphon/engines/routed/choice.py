"""In which order the targets of a route are tried."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from antiphon.domain import limits
from antiphon.domain.route_trace import TargetName
from antiphon.domain.routing import RouteSpec, TargetSpec
from antiphon.engines.routed import affinity
from antiphon.engines.routed.target import Target
from antiphon.protocol.generation import Generation

#: What a target costs, in any unit that is the same for all; None: not known.
PriceOf = Callable[[TargetName, TargetSpec], float | None]
#: A number from 0 up to, but not including, 1.
Chance = Callable[[], float]


def order(
    spec: RouteSpec,
    targets: Sequence[Target],
    generation: Generation,
    now: float,
    *,
    chance: Chance,
    price: PriceOf,
) -> list[Target]:
    """The targets, the one to ask first.

    A key of the client's (`Generation.affinity`) goes before the rule, and how the prompt begins decides among those
    that the rule finds equally good. `now` is in monotonic seconds.
    """
    if len(targets) == 1:
        return list(targets)
    if spec.affinity and generation.affinity is not None:
        return affinity.spared(affinity.ranked(generation.affinity, targets))
    if spec.affinity:
        base = affinity.ranked(affinity.key_of(generation), targets)
        if spec.choose == "weight":
            return affinity.spared(base)
    else:
        base = drawn(targets, chance)
    if spec.choose == "outstanding":
        return sorted(base, key=lambda target: target.health.outstanding / target.spec.weight)
    if spec.choose == "latency":
        return _quickest(base, now)
    if spec.choose == "price":
        return _cheapest(base, price)
    return base


def drawn(targets: Sequence[Target], chance: Chance) -> list[Target]:
    """A random order in which a target of weight 3 is first three times as often as one of weight 1."""
    left = list(targets)
    result: list[Target] = []
    while left:
        point = chance() * sum(target.spec.weight for target in left)
        for index, target in enumerate(left):
            point -= target.spec.weight
            if point < 0 or index == len(left) - 1:
                result.append(left.pop(index))
                break
    return result


def _quickest(base: Sequence[Target], now: float) -> list[Target]:
    """Targets that nothing is known of come first, with one call at a time; then by their time to the first token."""
    known = {target: target.health.latency(now) for target in base}
    times = [time for time in known.values() if time is not None]
    best = min(times, default=0.0)

    def rank(target: Target) -> float:
        time = known[target]
        if time is None:
            return -1.0 if not target.health.outstanding or not times else float("inf")
        return best if time <= best * (1 + limits.LATENCY_SLACK) else time

    return sorted(base, key=rank)


def _cheapest(base: Sequence[Target], price: PriceOf) -> list[Target]:
    prices = {target: price(target.name, target.spec) for target in base}

    def rank(target: Target) -> float:
        value = prices[target]
        return float("inf") if value is None else value

    return sorted(base, key=rank)


def listed_price(target: TargetName, spec: TargetSpec) -> float | None:
    """What a target costs by its own `price`: a million tokens in and as many out, in US dollars."""
    return None if spec.price is None else float(spec.price.input) + float(spec.price.output)
