"""What a generation costs: by the route's own price, or by a dated public list that comes with the package.

**Rounding.** The parts of a generation are added exactly and the sum is rounded once, half up, to a nano-dollar.
What is not known stays unknown (None): it is never taken for zero.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

from antiphon.domain import amounts, money
from antiphon.domain.money import MILLION, Cost, Rates
from antiphon.domain.route_trace import TargetName
from antiphon.domain.routing import LOCAL, PriceSpec, RouteSpec, TargetSpec, UpstreamSpec
from antiphon.protocol.generation import Usage

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice

#: Service tiers that mean the ordinary price ("on_demand": Groq).
_ORDINARY = frozenset({None, "auto", "default", "standard", "on_demand"})
#: What the built-in engine costs: known, and nothing.
FREE = Rates(0, 0, 0, 0, 0, 0, 0, 0, "local")
#: A list's price may change on any minute of the day (some providers are cheaper at night).
_MINUTE = 60

_Key = tuple[int, TargetName, str | None, bool]


class Pricing:
    """Prices of this server's targets. Looked up once a minute for each, then remembered as whole numbers."""

    def __init__(
        self, upstreams: Mapping[str, UpstreamSpec] | None = None, now: Callable[[], float] = time.time
    ) -> None:
        self._upstreams = upstreams or {}
        self._now = now
        self._known: dict[_Key, tuple[int, RouteSpec | None, Rates | None]] = {}
        if self._upstreams:
            _providers()  # a fifth of a second, better now than with the first call

    def price(
        self,
        spec: RouteSpec | None,
        target: TargetName,
        usage: Usage,
        *,
        tier: str | None = None,
        batch: bool = False,
    ) -> Cost | None:
        """What this usage of a target costs on its route (None: a route that was not configured). None: unknown.

        `tier` is the service tier; `batch`, whether it is part of one.
        """
        rates = self.rates(spec, target, tier=tier, batch=batch)
        return None if rates is None else charged(rates, usage)

    def rates(
        self, spec: RouteSpec | None, target: TargetName, *, tier: str | None = None, batch: bool = False
    ) -> Rates | None:
        """The rates of a target now. None: unknown."""
        if tier == "fast":  # another word for it (published specification, `ServiceTier`)
            tier = "priority"
        minute = int(self._now()) // _MINUTE
        key = (id(spec), target, tier, batch)
        known = self._known.get(key)
        if known is not None and known[0] == minute and known[1] is spec:
            return known[2]
        rates = self._look_up(spec, target, tier, batch)
        if len(self._known) >= 10_000:  # names of models come from clients where a route ends with "*"
            self._known.clear()
        self._known[key] = (minute, spec, rates)
        return rates

    def to_compare(self, target: TargetName, spec: TargetSpec) -> float | None:
        """A million tokens in and as many out of a route's target, in US dollars, to find the cheapest by."""
        rates = self.rates(None, target) if spec.price is None else _from_spec(spec.price, None, batch=False)
        return None if rates is None else (rates.input + (rates.output or 0)) / money.DOLLAR

    def most(
        self,
        spec: RouteSpec | None,
        model: str,
        usage: Usage,
        *,
        tier: str | None = None,
        batch: bool = False,
    ) -> int | None:
        """The most that this usage can cost on any target of the route (nano-dollars); `model`: as it was asked for.

        None: it is unknown for one of them.
        """
        if spec is None:
            return 0
        highest = 0
        for target in (*spec.targets, *spec.fallbacks):
            rates = self.rates(spec, TargetName(target.upstream, target.model or model), tier=tier, batch=batch)
            cost = None if rates is None else charged(_dearest(rates.for_input(usage.input_tokens)), usage)
            if cost is None:
                return None
            highest = max(highest, cost.nano)
        return highest

    def _look_up(self, spec: RouteSpec | None, target: TargetName, tier: str | None, batch: bool) -> Rates | None:
        own = _own(spec, target)
        if own is not None:
            return _from_spec(own, tier, batch=batch)
        if target.upstream == LOCAL:
            return FREE
        upstream = self._upstreams.get(target.upstream)
        if upstream is None:
            return None
        return listed(upstream.url, upstream.profile, target.model, tier=tier, batch=batch, now=self._now())


def charged(rates: Rates, usage: Usage) -> Cost | None:
    """What usage costs at these rates. Counts that contradict each other are charged as little as they allow."""
    rates = rates.for_input(usage.input_tokens)
    if rates.output is None and usage.output_tokens:
        return None
    plain_input = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens - usage.input_audio_tokens
    plain_output = usage.output_tokens - usage.reasoning_tokens - usage.output_audio_tokens
    total = (
        max(0, plain_input) * rates.input
        + usage.cached_tokens * rates.cached
        + usage.cache_write_tokens * rates.cache_write
        + usage.input_audio_tokens * rates.input_audio
        + max(0, plain_output) * (rates.output or 0)
        + usage.reasoning_tokens * rates.reasoning
        + usage.output_audio_tokens * rates.output_audio
    )
    return Cost(amounts.cost((total + MILLION // 2) // MILLION + rates.request), rates.version)


def _dearest(rates: Rates) -> Rates:
    """Rates that are no lower than these, whatever kind of tokens the input and the output turn out to be."""
    highest_in = max(rates.input, rates.cached, rates.cache_write, rates.input_audio)
    highest_out = None if rates.output is None else max(rates.output, rates.reasoning, rates.output_audio)
    return Rates(highest_in, highest_in, highest_in, highest_out, 0, 0, 0, rates.request, rates.version)


# --- own prices -------------------------------------------------------------------------------------------------------
def _own(spec: RouteSpec | None, target: TargetName) -> PriceSpec | None:
    found: TargetSpec | None = None
    for candidate in () if spec is None else (*spec.targets, *spec.fallbacks):
        if candidate.upstream == target.upstream and candidate.model in {target.model, None}:
            # The one that names the model goes before one that takes any.
            found = candidate if found is None or candidate.model is not None else found
    return found.price if found is not None else None


def _from_spec(spec: PriceSpec, tier: str | None, *, batch: bool) -> Rates:
    factor = Decimal(spec.tiers.get(tier or "default", "1")) * (Decimal(spec.batch) if batch else 1)

    def rate(text: str | None, otherwise: str) -> int:
        return money.rate(Decimal(otherwise if text is None else text), factor)

    return Rates(
        input=rate(spec.input, spec.input),
        cached=rate(spec.cached, spec.input),
        cache_write=rate(spec.cache_write, spec.input),
        output=rate(spec.output, spec.output),
        reasoning=rate(spec.reasoning, spec.output),
        input_audio=rate(spec.input_audio, spec.input),
        output_audio=rate(spec.output_audio, spec.output),
        request=rate(spec.request, "0"),
        version="own",
    )


# --- the public list --------------------------------------------------------------------------------------------------
def listed(
    url: str, profile: str, model: str, *, tier: str | None = None, batch: bool = False, now: float | None = None
) -> Rates | None:
    """What the public list says of a model at the server with this address; None if it does not know it.

    `profile` is asked by its name where the list does not know the address. The list is part of the installed package:
    nothing is fetched.
    """
    providers = _providers()
    provider = next((one for one in providers if re.match(one.api_pattern, url)), None)
    provider = provider or next((one for one in providers if one.id == profile), None)
    found = None if provider is None else provider.find_model(model, all_providers=list(providers))
    if found is None:
        return None
    context: dict[str, str] = {}
    if tier not in _ORDINARY:
        context["service_tier"] = str(tier)
    if batch:
        context["processing"] = "batch"
    known = [variant.when for variant in found.price_variants or ()]
    # A tier or a batch of which the list says nothing has a price that nobody knows.
    if not all(any(when.get(name) == value for when in known) for name, value in context.items()):
        return None
    at = datetime.fromtimestamp(time.time() if now is None else now, UTC)
    return _from_list(found.get_prices(at, context or None))


def _from_list(price: ModelPrice) -> Rates | None:
    starts = {tier.start for value in vars(price).values() for tier in getattr(value, "tiers", ())}
    base = _flat(price, 0)
    if base is None:
        return None
    above = [(start, rates) for start in sorted(starts) if (rates := _flat(price, start + 1)) is not None]
    return replace(base, above=tuple(above))


def _flat(price: ModelPrice, tokens: int) -> Rates | None:
    """The rates for an input of so many tokens. None if the list does not price tokens at all."""

    def find(*names: str) -> int | None:
        for name in names:
            value: Any = getattr(price, name)
            if value is None:
                continue
            for tier in reversed(getattr(value, "tiers", ())):
                if tokens > tier.start:
                    return money.rate(tier.price)
            return money.rate(getattr(value, "base", value))
        return None

    base = find("input_mtok")
    if base is None:
        return None
    output = find("output_mtok")
    requests: Any = price.requests_kcount

    def or_input(*names: str) -> int:
        found = find(*names)
        return base if found is None else found

    def or_output(*names: str) -> int:
        found = find(*names)
        return (output or 0) if found is None else found

    return Rates(
        input=base,
        cached=or_input("cache_read_mtok"),
        cache_write=or_input("cache_write_mtok"),
        output=output,
        reasoning=or_output("output_reasoning_mtok"),
        input_audio=or_input("input_audio_mtok"),
        output_audio=or_output("output_audio_mtok"),
        request=0 if requests is None else money.rate(Decimal(getattr(requests, "base", requests))) // 1000,
        version=version(),
    )


@cache
def _providers() -> tuple[Any, ...]:
    from genai_prices.data import providers  # 0.2 s and 25 MB: only for who has upstreams

    return tuple(providers)


@cache
def version() -> str:
    """The price list and its version."""
    from importlib.metadata import version as installed

    return f"genai-prices/{installed('genai-prices')}"
