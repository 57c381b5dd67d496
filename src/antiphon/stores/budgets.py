"""Budgets in the database: all that is spent against them goes through the two updates of this module.

A budget's window only ever goes forward, so that servers whose clocks differ by a moment do not undo each other's turn
of the day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Integer,
    and_,
    bindparam,
    case,
    delete,
    literal_column,
    or_,
    select,
    text,
    update,
)

from antiphon.domain import amounts, limits
from antiphon.domain.budgets import Budget, Reservation, Spending, window
from antiphon.domain.durations import milliseconds
from antiphon.domain.errors import Conflict
from antiphon.stores.ledger import spent_since
from antiphon.stores.query import DatabaseSession, Row, Statement, insertion
from antiphon.stores.section import StoreSection, is_valid_id, require_valid_id
from antiphon.stores.tables import UNFINISHED, budgets, reservations, responses

_FIELDS = tuple(Budget.__dataclass_fields__)
_BUDGET = tuple(budgets.c[name] for name in _FIELDS)
_ADD = insertion(budgets)
_LIST = Statement(select(*_BUDGET).order_by(budgets.c.seq))
_CHANGE = Statement(
    update(budgets)
    .where(budgets.c.id == bindparam("budget_id"))
    .values(
        amount=bindparam("new_amount"),
        allow_unknown=bindparam("new_allow_unknown"),
        channel=bindparam("new_channel"),
        # A new threshold can be reached anew.
        alerted=literal_column("0"),
    )
)
_REMOVE = Statement(delete(budgets).where(budgets.c.id == bindparam("budget_id")))
_PERIOD = Statement(select(budgets.c.period).where(budgets.c.id == bindparam("budget_id")))

#: Sums stand still here: with a reservation (`limits.MAX_COST`) added, and another one, they fit into 64 bits.
_MOST = 4 * limits.MAX_COST


def _plus(column: ColumnElement[Any], name: str) -> ColumnElement[Any]:
    """A sum with a parameter added to it, which ends at `_MOST`."""
    more: BindParameter[int] = bindparam(name, type_=BigInteger)
    most: ColumnElement[Any] = literal_column(str(_MOST))
    return case((column > most - more, most), else_=column + more)


_NOW: BindParameter[int] = bindparam("now", type_=BigInteger)
#: What is spent in the window that `now` is in.
_SPENT = case((budgets.c.window < _NOW, literal_column("0")), else_=budgets.c.spent)
_TURNED = case((budgets.c.window < _NOW, _NOW), else_=budgets.c.window)
#: The one conditional update: nobody else's money can come in between.
_RESERVE = Statement(
    update(budgets)
    .where(
        budgets.c.id == bindparam("budget_id"),
        or_(
            budgets.c.hard == literal_column("0"),
            _SPENT + budgets.c.reserved + bindparam("more") <= budgets.c.amount,
        ),
    )
    .values(spent=_SPENT, window=_TURNED, reserved=_plus(budgets.c.reserved, "more"))
)
_UNRESERVE = Statement(
    update(budgets)
    .where(budgets.c.id == bindparam("budget_id"))
    .values(
        reserved=case(
            (budgets.c.reserved < bindparam("less", type_=BigInteger), literal_column("0")),
            else_=budgets.c.reserved - bindparam("less", type_=BigInteger),
        )
    )
)
_SPEND = Statement(
    update(budgets).where(budgets.c.id == bindparam("budget_id")).values(spent=_plus(_SPENT, "more"), window=_TURNED)
)
#: Of a budget, once in each window: the moment in which it is reached.
_ALERT = Statement(
    update(budgets)
    .where(
        budgets.c.id == bindparam("budget_id"),
        budgets.c.alerted < budgets.c.window,
        budgets.c.spent >= budgets.c.amount,
    )
    .values(alerted=budgets.c.window)
)
_GET = Statement(select(*_BUDGET).where(budgets.c.id == bindparam("budget_id")))

_ADD_RESERVATION = insertion(reservations)
_GET_RESERVATION = Statement(
    select(reservations.c.budgets, reservations.c.amount).where(reservations.c.id == bindparam("reservation_id"))
)
_REMOVE_RESERVATION = Statement(delete(reservations).where(reservations.c.id == bindparam("reservation_id")))
_RENEW = Statement(
    update(reservations).where(reservations.c.owner == bindparam("holder")).values(until=bindparam("new_until"))
)
#: What servers that are gone had reserved for a response.
_LEFT = Statement(
    select(reservations.c.id, reservations.c.budgets, reservations.c.amount).where(
        reservations.c.object_id == bindparam("response_id"), reservations.c.owner != bindparam("holder")
    )
)
_RESIZE = Statement(
    update(reservations).where(reservations.c.id == bindparam("reservation_id")).values(amount=bindparam("new_amount"))
)
_LAPSED = Statement(
    select(reservations.c.id)
    .where(
        reservations.c.until < bindparam("now"),
        or_(
            reservations.c.object_id.is_(None),
            reservations.c.object_id.not_in(select(responses.c.id).where(text(UNFINISHED))),
        ),
    )
    .order_by(reservations.c.until)
    .limit(bindparam("limit", type_=Integer))
    .offset(literal_column("0"))
)
_OF_SUBJECT = and_(
    budgets.c.scope == bindparam("of_scope"),
    budgets.c.subject == bindparam("of_subject"),
    budgets.c.period == bindparam("of_period"),
)
_FIND_HARD = Statement(select(*_BUDGET).where(_OF_SUBJECT, budgets.c.hard == literal_column("1")))


class BudgetSection(StoreSection):
    """Implements `ports.BudgetStore`."""

    async def put_budget(self, budget: Budget, now: float) -> Budget:
        """Add a budget, or change the one with its id, or the hard one of its scope, subject and period."""
        require_valid_id(budget.id, budget.subject)
        # The ledger of a month is added up beside the writes; what comes in meanwhile is added by the write itself.
        spent, last = await self._database.read(spent_since, budget.scope, budget.subject, window(budget.period, now))
        return await self._database.write(_put, _Put(budget, now, spent, last), key="budgets")

    async def list_budgets(self) -> list[Budget]:
        """All of them, oldest first."""
        return await self._database.read(_list)

    async def remove_budget(self, budget_id: str) -> bool:
        """Delete one; False if there is none."""
        if not is_valid_id(budget_id):
            return False
        return await self._database.write(_remove, budget_id, key="budgets")

    async def reserve(self, reservation: Reservation, now: float) -> str | None:
        """Reserve on all of the reservation's budgets or on none. The id of a budget that has not enough left."""
        return await self._database.write(_reserve, (reservation, now), key=("reservation", reservation.id))

    async def spend(self, spending: Spending, now: float) -> list[Budget]:
        """Settle a reservation, if any, and add what was spent. Budgets that were reached by it (once a window)."""
        return await self._database.write(_spend, (spending, now), key=("reservation", spending.reservation))

    async def renew_reservations(self, owner: str, until: int) -> None:
        """Hold all reservations of a server until `until` (Unix milliseconds)."""
        await self._database.write(_renew, (owner, until), key=("reservations", owner))

    async def settle_lapsed(self, now: float, limit: int) -> int:
        """Count up to `limit` reservations as spent whose server has not renewed them. How many there were."""
        return await self._database.write(_settle_lapsed, (now, limit), key="lapsed reservations")


def _budget(row: Row) -> Budget:
    values = dict(zip(_FIELDS, row, strict=True))
    values["hard"], values["allow_unknown"] = bool(values["hard"]), bool(values["allow_unknown"])
    return Budget(**values)


def _list(session: DatabaseSession) -> list[Budget]:
    return [_budget(row) for row in session.all(_LIST, {})]


class _Put(NamedTuple):
    """A budget to be written at `now`; its subject had `spent` so much by the entry `last` of the ledger."""

    budget: Budget
    now: float
    spent: int
    last: int


def _put(session: DatabaseSession, batch: Sequence[_Put]) -> list[Budget]:
    return [_put_one(session, *each) for each in batch]


def _put_one(session: DatabaseSession, budget: Budget, now: float, spent: int, last: int) -> Budget:
    row = session.one(_GET, {"budget_id": budget.id})
    if row is None and budget.hard:
        place = {"of_scope": budget.scope, "of_subject": budget.subject, "of_period": budget.period}
        row = session.one(_FIND_HARD, place)
    if row is None:
        begun = window(budget.period, now)
        more, _ = spent_since(session, budget.scope, budget.subject, begun, after=last)
        values = {name: getattr(budget, name) for name in _FIELDS}
        values |= {"hard": int(budget.hard), "allow_unknown": int(budget.allow_unknown)}
        session.run(
            _ADD, values | {"window": begun, "spent": max(0, min(spent + more, _MOST)), "reserved": 0, "alerted": 0}
        )
        budget_id = budget.id
    else:
        budget_id = _budget(row).id
        changes = {
            "budget_id": budget_id,
            "new_amount": budget.amount,
            "new_allow_unknown": int(budget.allow_unknown),
            "new_channel": budget.channel,
        }
        session.run(_CHANGE, changes)
    stored = session.one(_GET, {"budget_id": budget_id})
    if stored is None:
        raise Conflict("The budget was deleted at the same time.")
    return _budget(stored)


def _remove(session: DatabaseSession, batch: Sequence[str]) -> list[bool]:
    return [session.run(_REMOVE, {"budget_id": budget_id}) > 0 for budget_id in batch]


# --- spending ---------------------------------------------------------------------------------------------------------
def _begun(session: DatabaseSession, budget_id: str, now: float) -> int:
    row = session.one(_PERIOD, {"budget_id": budget_id})
    return 0 if row is None else window(row[0], now)


def _reserve(session: DatabaseSession, batch: Sequence[tuple[Reservation, float]]) -> list[str | None]:
    return [_reserve_one(session, reservation, now) for reservation, now in batch]


def _reserve_one(session: DatabaseSession, reservation: Reservation, now: float) -> str | None:
    reservation = replace(reservation, amount=amounts.cost(reservation.amount))
    left: Sequence[Row] = ()
    if reservation.object_id is not None:
        left = session.all(_LEFT, {"response_id": reservation.object_id, "holder": reservation.owner})
        _take_over(session, left)
    done: list[str] = []
    # Always in the same order: two servers that each hold what the other waits for would stop each other.
    for budget_id in sorted(reservation.budgets):
        begun = _begun(session, budget_id, now)
        if not begun:
            continue  # deleted a moment ago: it limits nothing any more
        if session.run(_RESERVE, {"budget_id": budget_id, "now": begun, "more": reservation.amount}):
            done.append(budget_id)
            continue
        for other in done:
            session.run(_UNRESERVE, {"budget_id": other, "less": reservation.amount})
        _leave_be(session, left)
        return budget_id
    values: dict[str, object] = {"id": reservation.id, "owner": reservation.owner, "budgets": ",".join(done)}
    values |= {"amount": reservation.amount, "until": reservation.until, "object_id": reservation.object_id}
    session.run(_ADD_RESERVATION, values)
    return None


def _take_over(session: DatabaseSession, rows: Sequence[Row]) -> None:
    """Give back what other servers have reserved for a response that another one goes on with.

    Their rows stay until they lapse: a server that was only slow can still settle what it has spent.
    """
    for reservation_id, held, amount in rows:
        _give_back(session, frozenset(held.split(",")) - {""}, amount)
        session.run(_RESIZE, {"reservation_id": reservation_id, "new_amount": 0})


def _leave_be(session: DatabaseSession, rows: Sequence[Row]) -> None:
    """Undo that: it is not gone on with after all."""
    for reservation_id, held, amount in rows:
        _give_back(session, frozenset(held.split(",")) - {""}, -amount)
        session.run(_RESIZE, {"reservation_id": reservation_id, "new_amount": amount})


def _spend(session: DatabaseSession, batch: Sequence[tuple[Spending, float]]) -> list[list[Budget]]:
    return [_spend_one(session, spending, now) for spending, now in batch]


def _spend_one(session: DatabaseSession, spending: Spending, now: float) -> list[Budget]:
    held: frozenset[str] = frozenset()
    if spending.reservation is not None:
        row = session.one(_GET_RESERVATION, {"reservation_id": spending.reservation})
        # Whoever deletes it is the one who settles it.
        if row is not None and session.run(_REMOVE_RESERVATION, {"reservation_id": spending.reservation}):
            held = frozenset(row[0].split(",")) - {""}
            _give_back(session, held, row[1])
        else:
            return []
    reached: list[Budget] = []
    amount = amounts.cost(spending.amount)
    for budget_id in sorted(held.union(spending.budgets)):
        begun = _begun(session, budget_id, now)
        if begun and amount:
            session.run(_SPEND, {"budget_id": budget_id, "now": begun, "more": amount})
            if session.run(_ALERT, {"budget_id": budget_id}):
                row = session.one(_GET, {"budget_id": budget_id})
                reached += [] if row is None else [_budget(row)]
    return reached


def _give_back(session: DatabaseSession, budget_ids: frozenset[str], amount: int) -> None:
    for budget_id in sorted(budget_ids):
        session.run(_UNRESERVE, {"budget_id": budget_id, "less": amount})


def _renew(session: DatabaseSession, batch: Sequence[tuple[str, int]]) -> list[None]:
    for owner, until in batch:
        session.run(_RENEW, {"holder": owner, "new_until": until})
    return [None] * len(batch)


def _settle_lapsed(session: DatabaseSession, batch: Sequence[tuple[float, int]]) -> list[int]:
    counts = []
    for now, limit in batch:
        rows = session.all(_LAPSED, {"now": milliseconds(now), "limit": limit})
        for (reservation_id,) in rows:
            row = session.one(_GET_RESERVATION, {"reservation_id": reservation_id})
            if row is not None:
                # What it may have come to cost is taken for what it did.
                _spend_one(session, Spending((), row[1], reservation_id), now)
        counts.append(len(rows))
    return counts
