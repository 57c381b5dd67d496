"""Budgets, on both databases: what is spent against them, by one server and by several."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from dataclasses import replace
from typing import Any

import pytest

from antiphon.domain.budgets import Budget, Reservation, Spending, window
from antiphon.stores import budgets as budgets_store
from antiphon.stores.query import DatabaseSession
from antiphon.stores.store import SqlStore
from antiphon.stores.threads import Reader
from contract.store_kit import ONE, opened, response, run
from support.ledger import entry

NOW = 1_763_800_000.0
DAY = 86_400


def budget(name: str = "b", amount: int = 100, **members: object) -> Budget:
    values = {"scope": "project", "subject": ONE, "period": "month", "hard": True, "allow_unknown": False}
    return Budget(id=name, amount=amount, created_at=1, **values | members)  # type: ignore[arg-type]


def reservation(name: str, amount: int, *budgets: str, until: float = NOW + 60) -> Reservation:
    return Reservation(name, "server", budgets or ("b",), amount, int(until * 1000))


async def state(store: SqlStore, name: str = "b") -> tuple[int, int]:
    [found] = [one for one in await store.list_budgets() if one.id == name]
    return found.spent, found.reserved


def test_a_budget_comes_back_and_is_changed(url: str) -> None:
    async def test(store: SqlStore) -> None:
        stored = await store.put_budget(budget(channel=b"{}"), NOW)
        assert stored == replace(budget(channel=b"{}"), window=window("month", NOW))
        assert await store.list_budgets() == [stored]
        # The hard one of the same subject and period is changed, under its own id.
        changed = await store.put_budget(budget("other", 300, allow_unknown=True), NOW)
        assert (changed.id, changed.amount, changed.allow_unknown) == ("b", 300, True)
        await store.put_budget(budget("alert", 50, hard=False), NOW)
        await store.put_budget(budget("alert2", 50, hard=False), NOW)
        assert [one.id for one in await store.list_budgets()] == ["b", "alert", "alert2"]
        assert await store.remove_budget("b")
        assert not await store.remove_budget("b")

    run(url, test)


def test_a_new_budget_begins_with_what_was_spent_in_its_window(url: str) -> None:
    async def test(store: SqlStore) -> None:
        begun = window("month", NOW)
        await store.add_entries(
            [
                entry("a", at=begun * 1000, cost=5),
                entry("b", at=begun * 1000 - 1, cost=100),
                entry("c", at=begun * 1000, cost=7, project_id="proj_two", key_id="key_two"),
                entry("d", at=begun * 1000, cost=None),
            ]
        )
        assert (await store.put_budget(budget("p"), NOW)).spent == 5
        assert (await store.put_budget(budget("k", scope="key", subject="key_two"), NOW)).spent == 7
        assert (await store.put_budget(budget("o", scope="organization", subject=""), NOW)).spent == 12

    run(url, test)


def test_a_long_ledger_is_not_added_up_where_writes_wait(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it in a reader; by the writer only what has come since."""
    asked: list[tuple[bool, int]] = []
    real = budgets_store.spent_since

    def watched(session: DatabaseSession, *place: Any, after: int = 0) -> tuple[int, int]:
        asked.append((Reader.__name__ in threading.current_thread().name, after))
        return real(session, *place, after=after)

    monkeypatch.setattr(budgets_store, "spent_since", watched)

    async def test(store: SqlStore) -> None:
        await store.add_entries([entry(f"e{n}", at=window("month", NOW) * 1000, cost=1) for n in range(10)])
        assert (await store.put_budget(budget(), NOW)).spent == 10

    run(url, test)
    [(in_reader, _), (in_writer, after)] = asked
    assert (in_reader, in_writer) == (True, False)
    assert after >= 10


def test_amounts_that_nobody_has_break_nothing(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.put_budget(budget("b", 100), NOW)
        await store.put_budget(budget("alert", 100, hard=False), NOW)
        assert await store.reserve(reservation("huge", 10**30), NOW) == "b"
        for number in range(12):
            await store.spend(Spending(("alert",), 10**30), NOW)
            assert await store.reserve(reservation(f"r{number}", 10**30, "alert"), NOW) is None
        assert await state(store, "alert") == (4 * 10**18, 4 * 10**18)
        assert await store.settle_lapsed(NOW + 61, 20) == 12
        assert await state(store, "alert") == (4 * 10**18, 0)
        assert await store.reserve(reservation("small", 100), NOW) is None

    run(url, test)


def test_reservations_are_all_or_nothing(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.put_budget(budget("b", 100), NOW)
        await store.put_budget(budget("a", 1000, scope="organization", subject=""), NOW)
        await store.put_budget(budget("c", 50, scope="key", subject="k"), NOW)
        assert await store.reserve(reservation("r1", 40, "a", "b", "c"), NOW) is None
        assert await store.reserve(reservation("r2", 40, "a", "b", "c"), NOW) == "c"
        for name in "abc":
            assert await state(store, name) == (0, 40)
        assert await store.reserve(reservation("r3", 60, "a", "b"), NOW) is None
        assert await store.reserve(reservation("r4", 1, "a", "b"), NOW) == "b"
        await store.spend(Spending((), 10, "r1"), NOW)
        assert [await state(store, name) for name in "abc"] == [(10, 60), (10, 60), (10, 0)]
        # Settled is settled.
        await store.spend(Spending((), 10, "r1"), NOW)
        assert await state(store, "b") == (10, 60)
        # A budget that is gone limits nothing.
        assert await store.reserve(reservation("r5", 10, "b", "gone"), NOW) is None

    run(url, test)


def test_a_window_turns_forward_only(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.put_budget(budget(period="day"), NOW)
        assert await store.reserve(reservation("r1", 100), NOW) is None
        await store.spend(Spending((), 100, "r1"), NOW)
        assert await store.reserve(reservation("r2", 1), NOW) == "b"
        assert await store.reserve(reservation("r2", 60), NOW + DAY) is None
        assert await state(store) == (0, 60)
        # A server whose clock is behind counts in the window that the others are in.
        assert await store.reserve(reservation("r3", 60), NOW) == "b"
        await store.spend(Spending((), 50, "r2"), NOW)
        assert await state(store) == (50, 0)

    run(url, test)


def test_an_alert_is_told_once_in_a_window(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.put_budget(budget("alert", 100, hard=False, period="day"), NOW)
        assert await store.spend(Spending(("alert",), 99), NOW) == []
        [reached] = await store.spend(Spending(("alert",), 1), NOW)
        assert (reached.id, reached.spent) == ("alert", 100)
        assert await store.spend(Spending(("alert",), 1000), NOW) == []
        assert await store.spend(Spending(("alert",), 99), NOW + DAY) == []
        assert len(await store.spend(Spending(("alert",), 1), NOW + DAY)) == 1

    run(url, test)


def test_what_was_reserved_for_a_response_is_taken_over_by_whoever_goes_on_with_it(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.put_budget(budget("b", 100), NOW)
        await store.put_response(response("resp_1", status="queued"), [])
        dead = replace(reservation("dead", 70), owner="dead", object_id="resp_1")
        assert await store.reserve(dead, NOW) is None
        assert await store.settle_lapsed(NOW + 3600, 10) == 0, "it is still to be made"
        # A first try that does not fit leaves all as it was.
        assert await store.reserve(replace(reservation("more", 101), object_id="resp_1"), NOW) == "b"
        assert await state(store) == (0, 70)
        assert await store.reserve(replace(reservation("mine", 60), object_id="resp_1"), NOW) is None
        assert await store.reserve(replace(reservation("also", 30), object_id="resp_1"), NOW) is None
        assert await state(store) == (0, 90)
        await store.spend(Spending((), 5, "mine"), NOW)
        await store.spend(Spending((), 5, "also"), NOW)
        # Whoever was only slow still settles what it has spent, and is dead otherwise.
        await store.spend(Spending((), 3, "dead"), NOW)
        assert await state(store) == (13, 0)

    run(url, test)


def test_what_nobody_goes_on_with_counts_as_spent(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.put_budget(budget("b", 100), NOW)
        await store.put_response(response("resp_1", status="failed"), [])
        assert await store.reserve(replace(reservation("dead", 70), object_id="resp_1"), NOW) is None
        assert await store.settle_lapsed(NOW + 61, 10) == 1
        assert await state(store) == (70, 0)

    run(url, test)


def test_a_lapsed_reservation_counts_as_spent(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.put_budget(budget("b", 100), NOW)
        await store.reserve(reservation("r1", 30), NOW)
        await store.reserve(reservation("r2", 20), NOW)
        assert await store.settle_lapsed(NOW + 59, 10) == 0
        await store.renew_reservations("server", int((NOW + 120) * 1000))
        assert await store.settle_lapsed(NOW + 61, 10) == 0
        assert await store.settle_lapsed(NOW + 121, 1) == 1
        assert await store.settle_lapsed(NOW + 121, 10) == 1
        assert await state(store) == (50, 0)
        await store.spend(Spending((), 1, "r1"), NOW)
        assert await state(store) == (50, 0)

    run(url, test)


KILLED = """
import asyncio, os, signal, sys
from antiphon.domain.budgets import Reservation
from antiphon.stores.store import SqlStore

async def main():
    store = SqlStore(sys.argv[1], backups=None)
    await store.open()
    for number in range(3):
        await store.reserve(Reservation(f"r{number}", "killed", ("b",), 7, 1000), float(sys.argv[2]))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def test_what_a_killed_server_had_reserved_counts_as_spent(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.put_budget(budget("b", 30), NOW)
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, url, str(NOW))
        assert await child.wait() == -signal.SIGKILL
        assert await state(store) == (0, 21)
        # Held, as long as nobody knows that it is dead; and spent, from then on.
        assert await store.reserve(reservation("mine", 10), NOW) == "b"
        assert await store.settle_lapsed(NOW, 10) == 3
        assert await state(store) == (21, 0)
        assert await store.reserve(reservation("mine", 9), NOW) is None

    run(url, test)


def test_two_servers_cannot_reserve_more_than_there_is(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.put_budget(budget("a", 10, scope="organization", subject=""), NOW)
        await store.put_budget(budget("b", 20), NOW)
        async with opened(url) as other:
            results = await asyncio.gather(
                *((store, other)[n % 2].reserve(reservation(f"r{n}", 1, "a", "b"), NOW) for n in range(100))
            )
        assert results.count(None) == 10
        assert (await state(store, "a"), await state(store, "b")) == ((0, 10), (0, 10))

    run(url, test)
