"""The counters of rate limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from antiphon.domain.rates import Demand, Reading, Refusal


class RateCounters(Protocol):
    """The counters of rate limits. Those of one process are in memory; several servers could share some."""

    async def take(
        self, use: Sequence[Demand], hold: Sequence[Demand], check: Sequence[Demand] = ()
    ) -> tuple[Refusal | None, list[Reading]]:
        """Use what is to be used and hold what is to be held; if a counter has no room for it, nothing is changed.

        `check`: there must be room for this too. Of several refusals, the one that holds the longest is given. The
        readings are of all counters named, in order, and as they are afterwards.
        """

    def give_back(self, held: Sequence[Demand], used: int) -> None:
        """Let go of what was held; `used` of each has come to be used, whether or not there is room. Must not wait."""
