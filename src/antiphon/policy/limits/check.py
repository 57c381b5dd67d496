"""The rate limits of every generation, and the headers and errors that report them."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from antiphon.domain import limits
from antiphon.domain.errors import NeverFits, RateLimited
from antiphon.domain.rates import NANOSECONDS, Applying, Demand, Reading, Refusal, duration
from antiphon.policy.call import Call, GenerationContext, Headers
from antiphon.policy.pipeline.stages import AdmissionCheck, CallListener
from antiphon.ports import RateCounters

_SHOWN = {
    kind: tuple(f"x-ratelimit-{what}-{kind}".encode() for what in ("limit", "remaining", "reset"))
    for kind in ("requests", "tokens")
}
#: The headers that each limit is shown in.
_HEADERS = {"rpm": _SHOWN["requests"], "rpd": _SHOWN["requests"], "tpm": _SHOWN["tokens"], "tpd": _SHOWN["tokens"]}


class RateLimitCheck(AdmissionCheck, CallListener):
    """Requests and tokens per minute and day, and calls at once: of keys, projects, users, and of all.

    A call is one request, and has one place among those that run, whatever it generates. Tokens are held for each of
    its generations before it begins, as many as it may come to use, and what was used is known at its end. A call
    without limits pays for one look whether there are any.
    """

    def __init__(self, counters: RateCounters) -> None:
        self._counters = counters

    def enter(self, context: GenerationContext) -> Awaitable[None] | None:
        """Admit it, or raise `RateLimited` (`NeverFits`: it is larger than a whole limit). All or nothing."""
        return self._take(context) if context.call.caller.limits else None

    async def _take(self, context: GenerationContext) -> None:
        call = context.call
        route = context.route
        # An alias of a route is a route of its own, with the other's configuration.
        configured = None if route.spec is None else route.spec.name
        applying = call.caller.limits.applying(call.model, route.name, route.model, configured)
        requests = () if call.counted else applying.requests
        places = () if call.held_places else applying.concurrent
        amount = most_tokens(context) if applying.tokens else 0
        tokens = tuple([Demand(meter, amount) for meter in applying.tokens])
        if context.trial:
            refused, readings = await self._counters.take(requests, (), (*places, *tokens))
        else:
            refused, readings = await self._counters.take(requests, (*places, *tokens))
        headers = _headers(readings, refused)
        if call.rate_headers:  # a further generation takes no request: the headers of those stay
            names = {name for name, _ in headers}
            headers = [*(pair for pair in call.rate_headers if pair[0] not in names), *headers]
        call.rate_headers = headers
        if refused is not None:
            raise _refusal(refused, call, applying)
        call.counted = True
        if not context.trial:
            call.held_places = call.held_places or places
            context.held_tokens = tokens

    def finish(self, context: GenerationContext) -> None:
        """Count what was used."""
        held, context.held_tokens = context.held_tokens, ()
        if held:
            # What the cache answers costs nothing: it has used nothing either.
            usage = context.total_usage
            used = 0 if usage is None else usage.input_tokens + usage.output_tokens
            self._counters.give_back(held, used)

    def leave(self, context: GenerationContext) -> None:
        """The same, for an answer that was not completed."""
        self.finish(context)

    def call_ended(self, call: Call) -> None:
        """Give the call's place back."""
        places, call.held_places = call.held_places, ()
        if places:
            self._counters.give_back(places, 0)


def most_tokens(context: GenerationContext) -> int:
    """Tokens that a generation may come to use, as far as can be told before: its input, and what it asks for."""
    generation, asked = context.generation, context.outputs
    output = generation.sampling.max_tokens
    output = max(limits.RATE_OUTPUT_DEFAULT if output is None else output, asked.tokens)
    # A request that is passed on as it came may ask for several choices at once.
    choices = 1 if generation.passthrough is None else generation.passthrough.body.get("n") or 1
    most = choices * asked.times * (context.expected_input + min(output, limits.RATE_OUTPUT_CAP))
    return min(most, limits.MAX_TOKENS)


# --- headers and errors -----------------------------------------------------------------------------------------------
def _refusal(refused: Refusal, call: Call, applying: Applying) -> RateLimited:
    """The error, in the published API's words."""
    meter, amount = refused.demand.meter, refused.demand.amount
    kind = "tokens" if meter in applying.tokens else "requests"
    if refused.wait is None:
        # Kinder than to let it be sent again and again.
        call.rate_headers.append((b"x-should-retry", b"false"))
        return NeverFits(
            f"Request too large for {call.model} in {meter.owner} on {meter.unit}: Limit {meter.limit}, "
            f"Requested {amount}. The input or output tokens must be reduced in order to run successfully.",
            kind=kind,
        )
    milliseconds = max(1, -(-refused.wait // 1_000_000))
    call.rate_headers.append((b"retry-after-ms", b"%d" % milliseconds))
    return RateLimited(
        f"Rate limit reached for {call.model} in {meter.owner} on {meter.unit}: Limit {meter.limit}, "
        f"Used {meter.limit - refused.remaining}, Requested {amount}. Please try again in {duration(refused.wait)}.",
        kind=kind,
        retry_after=max(1, -(-refused.wait // NANOSECONDS)),
    )


def _headers(readings: Sequence[Reading], refused: Refusal | None) -> Headers:
    """Headers of the tightest counter of each kind: the one that refuses, or else the one with the least left."""
    tightest: dict[tuple[bytes, ...], Reading] = {}
    for reading in readings:
        names = _HEADERS.get(reading.meter.name[-1])
        if names is not None:
            other = tightest.get(names)
            if other is None or _is_tighter(reading, other, refused):
                tightest[names] = reading
    headers: Headers = []
    for (limit, remaining, reset), reading in tightest.items():
        headers += (
            (limit, b"%d" % reading.meter.limit),
            (remaining, b"%d" % reading.remaining),
            (reset, duration(reading.reset).encode()),
        )
    return headers


def _is_tighter(reading: Reading, other: Reading, refused: Refusal | None) -> bool:
    if refused is not None and refused.demand.meter in (reading.meter, other.meter):
        return refused.demand.meter == reading.meter
    return (reading.remaining, -reading.reset) < (other.remaining, -other.reset)
