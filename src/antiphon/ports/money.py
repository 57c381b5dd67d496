"""What calls cost, and how much they may."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from antiphon.domain.budgets import Budget, Reservation, Spending
from antiphon.domain.ledger import Asked, Entry, Sum


class LedgerStore(Protocol):
    """What each call used and cost."""

    async def add_entries(self, entries: Sequence[Entry]) -> None:
        """Write entries, each once however often it is added."""

    async def find_entries(self, name: str) -> list[Entry]:
        """The entries that made the object with this id, or that have this request id, oldest first."""

    async def usage(self, asked: Asked) -> list[Sum]:
        """Sums of what was asked for, by bucket and then by group; nothing for buckets without entries."""

    async def sweep_entries(self, *, before: int, limit: int) -> int:
        """Delete up to `limit` entries of calls that began before `before` (Unix seconds). Returns how many."""


class BudgetStore(Protocol):
    """Budgets, and what is spent against them. Any `now` is in Unix seconds."""

    async def put_budget(self, budget: Budget, now: float) -> Budget:
        """Add a budget, or change amount, `allow_unknown` and channel of the one with its id.

        A hard one changes the hard one of the same scope, subject and period, if there is one. A new one begins with
        what the ledger says was spent in this window. Returns it as it is stored.
        """

    async def list_budgets(self) -> list[Budget]:
        """All of them, oldest first."""

    async def remove_budget(self, budget_id: str) -> bool:
        """Delete one; False if there is none."""

    async def reserve(self, reservation: Reservation, now: float) -> str | None:
        """Reserve its amount on all of its budgets or on none, in one transaction.

        None if it was done; else the id of a hard budget that has not as much left. Budgets that are gone are passed
        over. What another server has reserved for the same response is given back with it.
        """

    async def spend(self, spending: Spending, now: float) -> list[Budget]:
        """Give a reservation back, if there is one, and add what was spent to its budgets and the others named.

        Nothing happens if the reservation is gone: it is settled already. Returns the budgets that were reached by
        this, each once in its window.
        """

    async def renew_reservations(self, owner: str, until: int) -> None:
        """Hold all reservations of this server until `until` (Unix milliseconds)."""

    async def settle_lapsed(self, now: float, limit: int) -> int:
        """Count up to `limit` reservations as spent that were held until before `now`. Returns how many there were.

        Those of responses that are still to be made are left: whoever makes them takes them over.
        """
