"""How an answer of a Chat Completions server ends, and what it used. Sans-IO."""

from __future__ import annotations

from antiphon.domain import limits
from antiphon.engines.upstream import errors
from antiphon.engines.upstream.chat.chunks import Completion, Reason
from antiphon.engines.upstream.usage import OutputMeter, usage_of
from antiphon.protocol.generation import Finish, Usage


class FinishState:
    """What is known of the end so far. `begun`: whether there was a choice."""

    def __init__(self, meter: OutputMeter) -> None:
        """`meter`: how much is said."""
        self._meter = meter
        self.reason: Reason | None = None
        self.usage: Usage | None = None
        self.tier: str | None = None
        self.begun = False

    def used(self, completion: Completion) -> None:
        """Where servers tell what was used, they tell the service tier, too."""
        self.usage = usage_of(completion.usage) or self.usage
        if isinstance(completion.service_tier, str):
            self.tier = completion.service_tier[: limits.MAX_TIER]

    def finish(self, *, calls: bool) -> Finish:
        """The end. Raises `UpstreamFailed` if the server has not said that it is one.

        That it has ended its stream, even with `[DONE]`, is no proof: servers do so after a failure, too.
        """
        reason = self.reason
        if reason is None:
            raise errors.truncated()
        # Not every server tells calls from text.
        if reason in {"stop", "tool_calls"}:
            reason = "tool_calls" if calls else "stop"
        return Finish(reason, self._meter.usage(self.usage), self.tier)
