"""One generation on its way through the pipeline: what is asked, and what came of it.

Every stage gets the same `GenerationContext`. It is the only source of what the engine is asked: whoever wants that to
be something else sets `generation`. The stages before the engine fill in what they hold for it; the meter (`metered`)
notes what the engine made; listeners read all of it when the call is over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from antiphon.domain.rates import Demand
from antiphon.domain.route_trace import RouteTrace, TargetName
from antiphon.policy.pipeline.generated_text import GeneratedText
from antiphon.ports import Route
from antiphon.protocol import estimate
from antiphon.protocol.generation import Finish, Generation, Usage
from antiphon.protocol.outputs import Outputs, outputs

if TYPE_CHECKING:
    from antiphon.policy.call import Call


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
