"""Rate limits as they are set, and the counters that they are made of. No I/O.

A counter holds up to its limit, and empties continuously: in one period, as much as the limit. What is used goes in at
once; what a call may come to use is held, and empties only once the call is over and its use is known. So what is used
in any time is never more than the limit and what has emptied in that time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import msgspec

from antiphon.domain.scopes import Names

Scope = Literal["organization", "project", "user", "key"]
Kind = Literal["requests", "tokens", "concurrent"]

NANOSECONDS = 1_000_000_000
MINUTE = 60 * NANOSECONDS
DAY = 86_400 * NANOSECONDS
#: The period of what does not empty by itself: calls that run at once.
NEVER = 0

#: What can be limited: the field of `RateLimit`, what it counts, its period, and how OpenAI's refusals call it.
FIELDS: tuple[tuple[str, Kind, int, str], ...] = (
    ("rpm", "requests", MINUTE, "requests per min (RPM)"),
    ("tpm", "tokens", MINUTE, "tokens per min (TPM)"),
    ("rpd", "requests", DAY, "requests per day (RPD)"),
    ("tpd", "tokens", DAY, "tokens per day (TPD)"),
    ("concurrent", "concurrent", NEVER, "concurrent requests"),
)
#: Models whose limits a caller remembers. Its names come from clients.
_REMEMBERED = 256
_UNITS = {name: unit for name, _, _, unit in FIELDS}


class Meter(msgspec.Struct, frozen=True, gc=False):
    """A counter's name, and what it may hold: `limit` in a period (nanoseconds; `NEVER`: at once)."""

    name: tuple[str, ...]
    limit: int
    period: int

    @property
    def owner(self) -> str:
        """Whose it is, in words."""
        scope, subject = self.name[:2]
        return f"{scope} {subject}" if subject else scope

    @property
    def unit(self) -> str:
        """What it counts, in OpenAI's words."""
        return _UNITS[self.name[-1]]


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Limits of one key, project or user, or of the organization (`subject` is empty), as they are set.

    `model`: they are for this model alone ("" for all together); one that ends with `*` is for all that begin so,
    together. Requests and tokens per minute and per day, and calls at once; None: no limit.
    """

    scope: Scope
    subject: str
    model: str = ""
    rpm: int | None = None
    tpm: int | None = None
    rpd: int | None = None
    tpd: int | None = None
    concurrent: int | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing is limited."""
        return all(getattr(self, name) is None for name, *_ in FIELDS)

    def meters(self, kind: Kind) -> list[Meter]:
        """The counters that these limits are, of those that count this."""
        name = (self.scope, self.subject, self.model)
        return [
            Meter((*name, what), limit, period)
            for what, counted, period, _ in FIELDS
            if counted == kind and (limit := getattr(self, what)) is not None
        ]


class Demand(msgspec.Struct, frozen=True, gc=False):
    """An amount of what a counter counts."""

    meter: Meter
    amount: int


class Applying(msgspec.Struct, frozen=True):
    """What a call comes under: a request of each of these counters, tokens of those, and a place among those."""

    requests: tuple[Demand, ...]
    tokens: tuple[Meter, ...]
    concurrent: tuple[Demand, ...]


class RateLimits:
    """All limits of one caller, for whatever model it may ask for."""

    __slots__ = ("_applying", "_limits")

    def __init__(self, found: Iterable[RateLimit] = ()) -> None:
        self._limits = tuple(found)
        self._applying: dict[tuple[str | None, ...], Applying] = {}

    def __bool__(self) -> bool:
        return bool(self._limits)

    def applying(self, *names: str | None) -> Applying:
        """What a call for a model that has one of these names comes under."""
        applying = self._applying.get(names)
        if applying is None:
            if len(self._applying) >= _REMEMBERED:
                self._applying.clear()
            applying = self._applying[names] = self._find(names)
        return applying

    def _find(self, names: tuple[str | None, ...]) -> Applying:
        found = [
            limit for limit in self._limits if not limit.model or any(name in Names((limit.model,)) for name in names)
        ]
        return Applying(
            tuple(Demand(meter, 1) for limit in found for meter in limit.meters("requests")),
            tuple(meter for limit in found for meter in limit.meters("tokens")),
            tuple(Demand(meter, 1) for limit in found for meter in limit.meters("concurrent")),
        )


#: Of a caller without limits.
NO_LIMITS = RateLimits()


class Reading(msgspec.Struct, frozen=True, gc=False):
    """What a counter shows: how much more it would take now, and when it will be empty (nanoseconds from now)."""

    meter: Meter
    remaining: int
    reset: int


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """A counter that could not take an amount. `wait`: when it might (nanoseconds from now); None: never."""

    demand: Demand
    remaining: int
    wait: int | None


class Counter:
    """One counter. Exact: `_used` is in units of one period's part of a nanosecond, so nothing is ever rounded."""

    __slots__ = ("_at", "_held", "_limit", "_used")

    def __init__(self, meter: Meter, now: int) -> None:
        """Empty. `now`, here as below, is in nanoseconds, and never less than before."""
        self._limit = meter.limit
        self._used = 0
        self._held = 0
        self._at = now

    def settle(self, meter: Meter, now: int) -> None:
        """Let empty what has emptied, and keep to the meter's limit from here on, if that has changed."""
        if self._used:
            self._used = max(0, self._used - self._limit * (now - self._at))
        self._at = now
        if meter.limit != self._limit:
            self._limit = meter.limit
            # Whoever is given less begins with it at once, whatever was used of more.
            self._used = min(self._used, meter.limit * meter.period)

    @property
    def idle(self) -> bool:
        """Whether nothing is in it, as of the last look."""
        return not self._used and not self._held

    @property
    def busy(self) -> bool:
        """Whether something is held that somebody will give back."""
        return self._held > 0

    def remaining(self, meter: Meter) -> int:
        """What it would take now, after `settle`."""
        return max(0, self._room(meter) // (meter.period or 1))

    def _room(self, meter: Meter) -> int:
        return (meter.limit - self._held) * (meter.period or 1) - self._used

    def refuses(self, demand: Demand) -> Refusal | None:
        """What speaks against taking this now, after `settle`."""
        meter = demand.meter
        missing = demand.amount * (meter.period or 1) - self._room(meter)
        if missing <= 0:
            return None
        if demand.amount > meter.limit:
            return Refusal(demand, self.remaining(meter), None)
        # What is held may be given back sooner; what runs at once ends when it ends.
        wait = -(-missing // meter.limit) if meter.period else NANOSECONDS
        return Refusal(demand, self.remaining(meter), wait)

    def use(self, demand: Demand) -> None:
        """Put an amount in, whether or not there is room."""
        self._used += demand.amount * demand.meter.period

    def hold(self, amount: int) -> None:
        """Keep room for an amount; a negative one is given back."""
        self._held += amount

    def reading(self, meter: Meter) -> Reading:
        """What it shows, after `settle`."""
        filled = self._used + self._held * meter.period
        return Reading(meter, self.remaining(meter), -(-filled // meter.limit) if meter.limit else 0)


def duration(nanoseconds: int) -> str:
    """A duration as Go writes it, in whole milliseconds, rounded up: `12ms`, `1s`, `6m0s`, `1h2m3.5s`."""
    milliseconds = -(-nanoseconds // 1_000_000)
    if milliseconds <= 0:
        return "0s"
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    seconds, rest = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{seconds}.{rest:03}".rstrip("0") + "s" if rest else f"{seconds}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text
