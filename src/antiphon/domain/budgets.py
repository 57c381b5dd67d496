"""Budgets: how much may be spent by whom in which time."""

from __future__ import annotations

import calendar
import time
from dataclasses import dataclass
from typing import Literal

Scope = Literal["key", "project", "organization"]
Period = Literal["day", "month"]
#: The subject of the organisation's own budgets: there is one organisation.
ORGANIZATION = ""


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit (`hard`: calls that would go over it are refused) or an alert (they are only told of).

    `subject` is the id of the key or project. `amount`, `spent` and `reserved` are in nano-dollars; the latter two
    belong to the window that began at `window` (Unix seconds). `alerted`: the last window in which it was reached.
    `allow_unknown`: calls whose price is unknown may be made, and count nothing. `channel`: JSON of whom an alert is
    meant for. A hard budget is the only one of its scope, subject and period.
    """

    id: str
    scope: Scope
    subject: str
    period: Period
    amount: int
    hard: bool
    allow_unknown: bool
    created_at: int
    channel: bytes | None = None
    window: int = 0
    spent: int = 0
    reserved: int = 0
    alerted: int = 0

    def spent_at(self, now: float) -> int:
        """Spent in the window that `now` (Unix seconds) is in."""
        return self.spent if self.window >= window(self.period, now) else 0


@dataclass(frozen=True, slots=True)
class Reservation:
    """Money that a generation may come to need: `amount` nano-dollars of each of these hard budgets.

    Held by the server `owner` until `until` (Unix milliseconds), which it renews. `object_id`: the background response
    that it is for, if it is for one. Whoever goes on with that response after a crash reserves anew, and what the dead
    server had reserved for it is given back.
    """

    id: str
    owner: str
    budgets: tuple[str, ...]
    amount: int
    until: int
    object_id: str | None = None


@dataclass(frozen=True, slots=True)
class Spending:
    """What a generation has come to cost: `amount` nano-dollars, to be added to these budgets.

    `reservation` is given back; if it is gone (its lease had ended, and it counts as spent), its budgets gain nothing
    more.
    """

    budgets: tuple[str, ...]
    amount: int
    reservation: str | None = None


def window(period: Period, now: float) -> int:
    """When the day or month (UTC) that `now` is in began. Unix seconds."""
    moment = time.gmtime(now)
    return calendar.timegm((moment.tm_year, moment.tm_mon, 1 if period == "month" else moment.tm_mday, 0, 0, 0))
