"""One call of the API, from the request to its row in the ledger."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from antiphon.domain import limits
from antiphon.domain.caching import CacheControl
from antiphon.domain.money import CallCost
from antiphon.domain.rates import Demand
from antiphon.domain.route_trace import TargetName
from antiphon.domain.tenancy import Caller
from antiphon.domain.texts import label

if TYPE_CHECKING:
    from antiphon.policy.pipeline.context import GenerationContext

Headers = list[tuple[bytes, bytes]]


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
