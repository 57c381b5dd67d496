"""Services start in one order and stop in the reverse one, whatever becomes of each."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from antiphon.app.compose import compose
from antiphon.app.services import ServiceGroup, Services, ShutdownHook
from support.composed import core_of


class Noted:
    """A part that notes what is done with it, and fails where it is told to."""

    def __init__(self, name: str, notes: list[str], fails: str = "") -> None:
        self._name = name
        self._notes = notes
        self._fails = fails

    async def start(self) -> None:
        self._note("start")

    async def stop(self) -> None:
        self._note("stop")

    def _note(self, what: str) -> None:
        self._notes.append(f"{what} {self._name}")
        if what == self._fails:
            raise RuntimeError(what)


def group(notes: list[str], **fails: str) -> ServiceGroup:
    return ServiceGroup({name: Noted(name, notes, fails.get(name, "")) for name in "abc"})


async def started_and_stopped(parts: ServiceGroup) -> None:
    try:
        await parts.start()
    finally:
        await parts.stop()
        await parts.stop()


def test_each_stops_before_those_that_started_before_it() -> None:
    notes: list[str] = []
    asyncio.run(started_and_stopped(group(notes)))
    assert notes == ["start a", "start b", "start c", "stop c", "stop b", "stop a"]


def test_one_that_does_not_end_well_keeps_no_other_from_ending() -> None:
    notes: list[str] = []
    asyncio.run(started_and_stopped(group(notes, b="stop", c="stop")))
    assert notes[3:] == ["stop c", "stop b", "stop a"]


def test_what_was_started_before_a_failure_is_stopped() -> None:
    notes: list[str] = []
    with pytest.raises(RuntimeError, match="start"):
        asyncio.run(started_and_stopped(group(notes, b="start")))
    assert notes == ["start a", "start b", "stop a"]


def test_an_end_may_have_to_be_waited_for() -> None:
    notes: list[str] = []

    async def end() -> None:
        await asyncio.sleep(0)
        notes.append("waited for")

    asyncio.run(
        started_and_stopped(ServiceGroup({"a": ShutdownHook(end), "b": ShutdownHook(lambda: notes.append("at once"))}))
    )
    assert notes == ["at once", "waited for"]


def composed(path: Path, database: str, **options: str) -> Services:
    return compose(core_of(path, database, **options))


def stopped(group: ServiceGroup) -> list[str]:
    return list(group.services)[::-1]


def test_a_servers_parts_end_before_what_they_still_need(tmp_path: Path) -> None:
    parts = composed(tmp_path, f"sqlite:///{tmp_path / 'antiphon.db'}")
    lasting, background = stopped(parts.lasting), stopped(parts.background)
    # Shared generations that end pay for themselves, their calls are told of, and what was told is written last of all.
    order = [lasting.index(name) for name in ("cache", "calls", "uses", "budgets", "ledger")]
    assert order == sorted(order)
    assert lasting[-1] == "ledger"
    # Followers are let go when what they follow has been stored for the last time, and no socket asks for more.
    assert background == ["sockets", "jobs", "bus"]


def test_only_who_shares_a_database_looks_what_others_say(tmp_path: Path) -> None:
    assert "poller" in composed(tmp_path, f"sqlite:///{tmp_path / 'shared.db'}").background.services


def test_whether_a_database_is_shared_can_be_set_and_does_not_depend_on_its_spelling(tmp_path: Path) -> None:
    own, link = f"sqlite:///{tmp_path / 'antiphon.db'}", tmp_path.parent / f"{tmp_path.name}-link"
    link.symlink_to(tmp_path)
    assert "poller" not in composed(tmp_path, own).background.services
    assert "poller" not in composed(link, own).background.services
    assert "poller" in composed(tmp_path, own, database_use="shared").background.services
    assert "poller" not in composed(tmp_path, "postgresql://localhost/db", database_use="alone").background.services
