"""One call of the API, from the door to its row in the ledger."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import NamedTuple

from antiphon.domain.caching import Wish
from antiphon.domain.money import CallCost
from antiphon.domain.rates import Demand
from antiphon.domain.tenancy import Caller
from antiphon.domain.trail import TargetName, Trail
from antiphon.policy.said import Said
from antiphon.ports import Route
from antiphon.protocol import estimate
from antiphon.protocol.generation import Delta, Generation, Usage

Headers = list[tuple[bytes, bytes]]


class Spent(NamedTuple):
    """What a target has used."""

    target: TargetName
    usage: Usage


@dataclass(slots=True)
class Admission:
    """One generation of a call: what is asked of which route, and, once it is over, what came of it.

    `answer`: set by a stage that answers in the engine's place; no further stage is entered then. `kept`: set by a
    stage that wants every delta of the answer.
    """

    call: Call
    route: Route
    generation: Generation
    #: Nothing will be generated: it is only asked what would refuse it now.
    trial: bool = False
    trail: Trail = field(default_factory=Trail)
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
    #: What the client asks of the cache; None: nothing.
    cache_control: Wish | None = None
    #: The request's own `store`, if it says so.
    store: bool | None = None
    #: The model's name as the client asked for it.
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
    admissions: list[Admission] = field(default_factory=list)
    #: HTTP status, or what it would have been.
    status: int = 0
    error: str | None = None
    closed: bool = False
    #: When it was over (monotonic seconds).
    ended: float = 0.0
    #: What it has cost, and after how many generations.
    cost: tuple[int, CallCost] | None = None
    #: Whether the rate limits have counted it as a request, and what they hold for it as long as it runs.
    counted: bool = False
    places: tuple[Demand, ...] = ()

    @property
    def project_id(self) -> str:
        """Whose call it is."""
        return self.caller.project.id
