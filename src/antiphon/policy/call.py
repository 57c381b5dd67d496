"""One call of the API, from the door to its row in the ledger."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from antiphon.domain import limits
from antiphon.domain.caching import CacheControl
from antiphon.domain.money import CallCost
from antiphon.domain.rates import Demand
from antiphon.domain.route_trace import RouteTrace, TargetName
from antiphon.domain.tenancy import Caller
from antiphon.domain.texts import label
from antiphon.policy.said import Said
from antiphon.ports import Route
from antiphon.protocol import estimate
from antiphon.protocol.generation import Delta, Generation, Usage
from antiphon.protocol.outputs import Outputs, outputs

Headers = list[tuple[bytes, bytes]]


class Spent(NamedTuple):
    """What a target has used."""

    target: TargetName
    usage: Usage


@dataclass(slots=True)
class GenerationContext:
    """One generation of a call: what is asked of which route, and, once it is over, what came of it.

    `answer`: set by a stage that answers in the engine's place; no further stage is entered then. `kept`: set by a
    stage that wants every delta of the answer.
    """

    call: Call
    route: Route
    generation: Generation
    #: Nothing will be generated: it is only asked what would refuse it now.
    trial: bool = False
    trace: RouteTrace = field(default_factory=RouteTrace)
    #: When the first delta came (monotonic seconds); None if none did.
    first_at: float | None = None
    #: As the engine told it, or our estimate for an answer that was broken off; None if nothing was generated.
    usage: Usage | None = None
    #: The service tier that it is made in: as it was asked for, until the engine tells.
    tier: str | None = None
    #: What attempts have used that came to nothing.
    wasted: list[Spent] = field(default_factory=list)
    #: How much text was generated, of whatever kind: what an answer that was broken off is estimated by.
    said: Said = field(default_factory=Said)
    finished: bool = False
    #: The answer does not fit a schema that is not strict.
    unmet: bool = False
    #: The code of the error that ended it.
    error: str | None = None
    kept: list[Delta] | None = None
    #: Whether a kept answer was given; then `saved` is what it had used when it was made.
    cached: bool = False
    saved: Usage | None = None
    #: What the cache knows this generation by; None if it was not asked.
    asked: bytes | None = None
    #: What the rate limits' counters hold for it.
    held: tuple[Demand, ...] = ()
    _input: int | None = None
    _outputs: Outputs | None = None

    @property
    def outputs(self) -> Outputs:
        """What fields that we do not know ask for. Raises `InvalidRequest` for what cannot be counted."""
        if self._outputs is None:
            self._outputs = outputs(self.generation)
        return self._outputs

    @property
    def expected_input(self) -> int:
        """Input tokens at a guess, before they are known. Reckoned once."""
        if self._input is None:
            self._input = estimate.input_tokens(self.generation)
        return self._input

    @property
    def consumed(self) -> Usage | None:
        """Tokens of the answer and of attempts that came to nothing; None if there are none of either."""
        usage = self.usage
        for spent in self.wasted:
            usage = spent.usage if usage is None else usage.plus(spent.usage)
        return usage


@dataclass(slots=True)
class Refused:
    """Sums of generations that were refused and of which nothing is left to tell, however many they were.

    `tries`: by target, how often it was asked and failed. A call has no more targets than its route.
    """

    attempts: int = 0
    tries: dict[TargetName, int] = field(default_factory=dict)
    error: str | None = None

    def add(self, admission: GenerationContext) -> None:
        """One more was refused."""
        self.attempts += len(admission.trace.attempts)
        for attempt in admission.trace.attempts:
            self.tries[attempt.target] = self.tries.get(attempt.target, 0) + 1
        self.error = admission.error


@dataclass(slots=True)
class Call:
    """One call. `endpoint` is the path of the resource, as it is documented; `began_at` is in Unix seconds.

    Everything below `began` is written on the way, and read when the call is over.
    """

    caller: Caller
    endpoint: str
    request_id: str
    began_at: float
    #: The same, for measuring (monotonic seconds).
    began: float = field(default_factory=time.monotonic)
    #: The request's method; "WEBSOCKET" or "BACKGROUND" for what has none of its own.
    method: str = "POST"
    #: The address of whoever sent it; None for what is made in the background.
    address: str | None = None
    #: Headers that upstreams get with what this call asks of them (`domain.trace_context`).
    upstream_headers: Mapping[str, str] = field(default_factory=dict)
    #: What the client asks of the cache; None: nothing.
    cache_control: CacheControl | None = None
    #: The request's own `store`, if it says so.
    store: bool | None = None
    #: The model's name as the client asked for it; None for one that nothing could have.
    model: str | None = None
    streamed: bool = False
    background: bool = False
    batch: bool = False
    #: The service tier that was asked for.
    service_tier: str | None = None
    #: The response or completion that is made.
    object_id: str | None = None
    #: Headers for the answer, by the stages it went through.
    headers: Headers = field(default_factory=list)
    #: Those that tell of the rate limits, as of the last generation.
    rates: Headers = field(default_factory=list)
    #: Headers that are known only when nothing more will be generated.
    trailers: Headers = field(default_factory=list)
    admissions: list[GenerationContext] = field(default_factory=list)
    #: What became of generations that are no longer in that list.
    refused: Refused = field(default_factory=Refused)
    #: Attempts of all generations at their targets.
    attempts: int = 0
    #: Whether the headers tell of targets.
    told: bool = False
    #: HTTP status, or what it would have been.
    status: int = 0
    error: str | None = None
    closed: bool = False
    #: When it was over (monotonic seconds).
    ended: float = 0.0
    #: What it has cost, and after how many generations.
    cost: tuple[int, CallCost] | None = None
    #: Whether the alerts of its budgets are in its headers.
    alerted: bool = False
    #: Whether the rate limits have counted it as a request, and what they hold for it as long as it runs.
    counted: bool = False
    places: tuple[Demand, ...] = ()

    def asks(self, model: str, body: Mapping[str, Any]) -> None:
        """Note what the request asks for. What could be nobody's name is not kept: it is the client's own text."""
        self.model = label(model, limits.MAX_ROUTE_NAME)
        self.store = body.get("store")
        self.service_tier = label(body.get("service_tier"), limits.MAX_TIER)

    def say(self, name: bytes, value: bytes) -> None:
        """Add a header to the answer, in place of one of its name: a call may be refused often until it is made."""
        self.headers[:] = [pair for pair in self.headers if pair[0] != name]
        self.headers.append((name, value))

    def admit(self, admission: GenerationContext) -> None:
        """One more generation begins. A refused one before it, which came to nothing, is only summed up from now on.

        What waits for its turn in the background may be refused for days.
        """
        before = self.admissions[-1] if self.admissions else None
        if before is not None and before.error is not None and before.consumed is None and not before.cached:
            self.refused.add(self.admissions.pop())
        self.admissions.append(admission)

    @property
    def project_id(self) -> str:
        """Whose call it is."""
        return self.caller.project.id
