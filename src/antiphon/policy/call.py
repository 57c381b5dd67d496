"""One call of the API, from the request to its row in the ledger, and the generations that it takes.

Every stage of the pipeline gets the same `GenerationContext`. It is the only source of what the engine is asked:
whoever wants that to be something else calls its `ask`. Stages note in it what they hold for the generation, the meter
notes what the engine made, and listeners read all of it when the call is over. The two classes know each other, so they
stand in one file.
"""

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
from antiphon.policy.generated_text import GeneratedText
from antiphon.ports import Route
from antiphon.protocol import estimate
from antiphon.protocol.generation import Finish, Generation, Usage
from antiphon.protocol.outputs import Outputs, outputs

Headers = list[tuple[bytes, bytes]]


class TargetUsage(NamedTuple):
    """Tokens that a target has used."""

    target: TargetName
    usage: Usage


@dataclass(slots=True)
class GenerationContext:
    """One generation of a call: what is asked of which route, and, once it is over, what came of it."""

    call: Call
    route: Route
    #: What the engine is asked. Stages may replace it, by `ask`.
    generation: Generation
    #: Nothing will be generated: it is only asked what would refuse it now, or how many tokens it has.
    trial: bool = False
    trace: RouteTrace = field(default_factory=RouteTrace)
    #: When the engine's first delta came (monotonic seconds); None if none did.
    first_at: float | None = None
    #: As the engine reported it, or our estimate for an answer that was broken off; None if nothing was generated.
    usage: Usage | None = None
    #: The service tier that it is made in: as it was asked for, until the engine reports it.
    tier: str | None = None
    #: What failed attempts have used.
    failed_usage: list[TargetUsage] = field(default_factory=list)
    #: How much text the engine made, of whatever kind: what an answer that was broken off is estimated by.
    generated_text: GeneratedText = field(default_factory=GeneratedText)
    #: The engine's end of the answer; None as long as it has not come.
    finish: Finish | None = None
    #: Whether the answer is complete: the engine has finished, or a stream filter has ended it.
    finished: bool = False
    #: The answer does not fit a schema that is not strict.
    unmet: bool = False
    #: The code of the error that ended it.
    error: str | None = None
    #: Whether a cached answer was given; then `saved_usage` is what it had used when it was made.
    cached: bool = False
    saved_usage: Usage | None = None
    #: The cache's key for this generation; None if the cache was not asked.
    cache_key: bytes | None = None
    #: What the rate limits' counters hold for it.
    held_tokens: tuple[Demand, ...] = ()
    _input: int | None = None
    _outputs: Outputs | None = None

    def ask(self, generation: Generation) -> None:
        """Ask the engine this instead. What was estimated of the one before is forgotten."""
        if generation is not self.generation:
            self.generation = generation
            self._input = self._outputs = None

    @property
    def outputs(self) -> Outputs:
        """What fields that we do not know ask for. Raises `InvalidRequest` for what cannot be counted."""
        if self._outputs is None:
            self._outputs = outputs(self.generation)
        return self._outputs

    @property
    def expected_input(self) -> int:
        """An estimate of the input tokens, before they are known. Computed once for each generation."""
        if self._input is None:
            self._input = estimate.input_tokens(self.generation)
        return self._input

    @property
    def total_usage(self) -> Usage | None:
        """Tokens of the answer and of failed attempts; None if there are none of either."""
        usage = self.usage
        for failed in self.failed_usage:
            usage = failed.usage if usage is None else usage.plus(failed.usage)
        return usage


@dataclass(slots=True)
class RefusedGenerations:
    """Sums over the refused generations of one call, so that a call that is retried for days needs no more memory.

    `tries`: by target, how often it was asked and failed. A call has no more targets than its route.
    """

    attempts: int = 0
    tries: dict[TargetName, int] = field(default_factory=dict)
    error: str | None = None

    def add(self, context: GenerationContext) -> None:
        """Count one more refused generation."""
        self.attempts += len(context.trace.attempts)
        for attempt in context.trace.attempts:
            self.tries[attempt.target] = self.tries.get(attempt.target, 0) + 1
        self.error = context.error


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
    #: Headers for the answer, set by the stages.
    headers: Headers = field(default_factory=list)
    #: The headers of the rate limits, as of the last generation.
    rate_headers: Headers = field(default_factory=list)
    #: Headers that are known only when the answer is complete: what it cost, for example.
    trailers: Headers = field(default_factory=list)
    #: The generations of this call, in the order in which they were begun.
    generations: list[GenerationContext] = field(default_factory=list)
    #: Sums over refused generations that are no longer in that list.
    refused_generations: RefusedGenerations = field(default_factory=RefusedGenerations)
    #: Attempts of all generations at their targets.
    attempts: int = 0
    #: Whether the headers name a target already.
    has_target_headers: bool = False
    #: HTTP status, or what it would have been.
    status: int = 0
    error: str | None = None
    closed: bool = False
    #: When it was over (monotonic seconds).
    ended: float = 0.0
    #: What it has cost, and the number of generations that this is the cost of.
    cost: tuple[int, CallCost] | None = None
    #: Whether the alerts of its budgets are in its headers.
    alerted: bool = False
    #: Whether the rate limits have counted it as a request.
    counted: bool = False
    #: What the rate limits' counters of concurrent calls hold for it as long as it runs.
    held_places: tuple[Demand, ...] = ()

    def note_request(self, model: str, body: Mapping[str, Any]) -> None:
        """Note what the request asks for. A model's name that no route could have is not kept: it may be any text."""
        self.model = label(model, limits.MAX_ROUTE_NAME)
        self.store = body.get("store")
        self.service_tier = label(body.get("service_tier"), limits.MAX_TIER)

    def set_header(self, name: bytes, value: bytes) -> None:
        """Set a header of the answer; one of the same name is replaced, since a call may be refused many times."""
        self.headers[:] = [pair for pair in self.headers if pair[0] != name]
        self.headers.append((name, value))

    def add_generation(self, context: GenerationContext) -> None:
        """Add a generation. If the one before it was refused and used nothing, that one is only counted from now on.

        A background response that waits for its turn may be refused for days.
        """
        before = self.generations[-1] if self.generations else None
        if before is not None and before.error is not None and before.total_usage is None and not before.cached:
            self.refused_generations.add(self.generations.pop())
        self.generations.append(context)

    @property
    def project_id(self) -> str:
        """Whose call it is."""
        return self.caller.project.id
