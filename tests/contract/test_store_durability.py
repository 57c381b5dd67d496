"""What was acknowledged is there: after many writes at once, bad neighbours, a kill, a close. On both databases."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from antiphon.domain import limits
from antiphon.domain.errors import Conflict, Overloaded, ShuttingDown, StoreFailed, StoreUnavailable, Unstorable
from antiphon.domain.tenancy import Project
from antiphon.stores.query import DatabaseSession
from antiphon.stores.store import SqlStore
from contract.store_kit import ONE, chain, completion, ids, item, opened, response, run, writer_held

CLIENT = Path(__file__).with_name("store_client.py")


def test_many_writes_at_once_are_all_there_after_reopening(url: str) -> None:
    names = [f"resp_{number}" for number in range(200)]

    async def write(store: SqlStore) -> None:
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(
                    store.put_response(response(name), [item(f"in_{name}"), item(f"out_{name}", 0, "output")])
                )

    async def check(store: SqlStore) -> None:
        for name in names:
            assert await chain(store, ONE, name, limit=1) == [
                (response(name), [item(f"in_{name}"), item(f"out_{name}", 0, "output")])
            ]

    run(url, write)
    run(url, check)


def test_bad_writes_of_a_group_harm_nobody_else(url: str) -> None:
    async def test(store: SqlStore) -> None:
        async with writer_held(store):
            tasks = [
                asyncio.create_task(store.put_response(response("resp_1"), [item("msg_1")])),
                asyncio.create_task(store.put_response(response("resp_2", project="proj_unknown"))),
                asyncio.create_task(store.put_response(response("resp_3", project="proj_unknown"), [item("msg_2")])),
                asyncio.create_task(store.create_project(Project("proj_x", "one", 1))),
                asyncio.create_task(store.put_completion(completion("c1", metadata={"k": "v"}))),
                asyncio.create_task(store.put_response(response("resp_4"))),
            ]
            await asyncio.sleep(0)  # so that each task asks before the writer goes on
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        kinds = [None if outcome is None else type(outcome) for outcome in outcomes]
        assert kinds == [None, Unstorable, Unstorable, Conflict, None, None]
        assert await store.get_response(ONE, "resp_1") == response("resp_1")
        assert await store.get_response(ONE, "resp_3") is None
        assert await store.get_items(ONE, ["msg_1", "msg_2"]) == {"msg_1": item("msg_1")}
        assert await store.get_completion(ONE, "c1") == completion("c1", metadata={"k": "v"})
        assert await store.get_response(ONE, "resp_4") == response("resp_4")

    run(url, test)


def test_values_that_no_database_takes_fail_alone(url: str) -> None:
    """PostgreSQL refuses a NUL in a text, both a number of more than 64 bits, and neither is the database's fault."""

    async def test(store: SqlStore) -> None:
        async with writer_held(store):
            writes = [
                store.put_response(response("resp_1")),
                store.put_response(replace(response("resp_2"), created_at=2**64)),
                store.put_response(replace(response("resp_3"), model="a\x00b")),
                store.put_response(replace(response("resp_4"), model="\ud800")),
                store.put_response(response("resp_5")),
            ]
            tasks = [asyncio.create_task(write) for write in writes]
            await asyncio.sleep(0)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert outcomes[0] is outcomes[4] is None
        for outcome in (outcomes[1], outcomes[3], *([outcomes[2]] if "postgresql" in url else [])):
            assert isinstance(outcome, StoreFailed)
            assert not isinstance(outcome, StoreUnavailable), "it is not the database's fault"
        await store.check_writable()
        for name in ("resp_1", "resp_5"):
            assert await store.get_response(ONE, name) is not None

    run(url, test)


def test_writes_of_one_object_in_one_group_keep_their_order(url: str) -> None:
    async def test(store: SqlStore) -> None:
        async with writer_held(store):
            tasks = [
                asyncio.create_task(store.put_response(response("resp_1", status="queued"), [item("msg_1")])),
                asyncio.create_task(store.put_response(response("resp_2"))),
                asyncio.create_task(store.put_response(response("resp_1", status="failed"), [item("msg_2")])),
                asyncio.create_task(store.delete_response(ONE, "resp_2")),
                asyncio.create_task(store.delete_response(ONE, "resp_2")),
                asyncio.create_task(store.put_response(response("resp_1"), [item("msg_3")])),
            ]
            await asyncio.sleep(0)
        assert await asyncio.gather(*tasks) == [None, None, None, True, False, None]
        assert await chain(store, ONE, "resp_1", limit=1) == [(response("resp_1"), [item("msg_3")])]
        assert await store.get_response(ONE, "resp_2") is None

    run(url, test)


def test_a_write_whose_caller_was_cancelled_still_happens(url: str) -> None:
    async def test(store: SqlStore) -> None:
        async with writer_held(store):
            task = asyncio.create_task(store.put_response(response("resp_1")))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await store.put_response(response("resp_2"))
        assert await store.get_response(ONE, "resp_1") == response("resp_1")

    run(url, test)


def test_a_bug_in_one_write_ends_neither_the_writer_nor_the_reader(url: str) -> None:
    async def test(store: SqlStore) -> None:
        def broken(_session: DatabaseSession, _batch: object = None) -> list[None]:
            raise LookupError("a bug")

        for attempt in range(5):
            with pytest.raises(LookupError):
                await store._database.write(broken, None, key=attempt)
            with pytest.raises(LookupError):
                await store._database.read(broken)
        await store.put_response(response("resp_1"))
        assert await store.get_response(ONE, "resp_1") == response("resp_1")

    run(url, test)


def test_a_full_queue_refuses(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PENDING_WRITES", 3)

    async def test(store: SqlStore) -> None:
        async with writer_held(store):
            tasks = [asyncio.create_task(store.put_response(response(f"resp_{n}"))) for n in range(5)]
            await asyncio.sleep(0)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert outcomes[:3] == [None] * 3
        assert [type(outcome) for outcome in outcomes[3:]] == [Overloaded] * 2
        await store.put_response(response("resp_5"))

    run(url, test)


def test_more_writes_than_one_group_takes(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_GROUP_COMMIT", 4)

    async def test(store: SqlStore) -> None:
        async with writer_held(store):
            tasks = [asyncio.create_task(store.put_completion(completion(f"c{n:02}"))) for n in range(11)]
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        page = store.list_completions(ONE, model=None, metadata={}, after=None, limit=20, ascending=True)
        assert await ids(page) == ([f"c{n:02}" for n in range(11)], False)

    run(url, test)


def test_close_writes_what_is_pending_and_then_refuses(url: str) -> None:
    async def test(store: SqlStore) -> None:
        async with writer_held(store):
            pending = [asyncio.create_task(store.put_response(response(f"resp_{n}"))) for n in range(50)]
            await asyncio.sleep(0)
            closing = asyncio.create_task(store.close())
            await asyncio.sleep(0)
        await closing
        assert await asyncio.gather(*pending) == [None] * 50
        await store.close()
        with pytest.raises(ShuttingDown):
            await store.put_response(response("resp_late"))
        with pytest.raises(ShuttingDown):
            await store.get_response(ONE, "resp_0")

    async def check(store: SqlStore) -> None:
        for number in range(50):
            assert await store.get_response(ONE, f"resp_{number}") is not None
        assert await store.get_response(ONE, "resp_late") is None

    run(url, test)
    run(url, check)


def test_a_store_that_is_not_open_says_so_and_can_be_closed(url: str) -> None:
    async def main() -> None:
        store = SqlStore(url, backups=None)
        with pytest.raises(StoreFailed):
            await store.get_response(ONE, "resp_1")
        with pytest.raises(StoreFailed):
            await store.put_response(response("resp_1"))
        with pytest.raises(StoreFailed):
            await store.ping()
        await store.close()

    asyncio.run(main())


def test_ping_answers_while_the_writer_is_busy(url: str) -> None:
    async def test(store: SqlStore) -> None:
        async with writer_held(store):
            await store.ping()

    run(url, test)


def test_what_was_acknowledged_survives_a_kill(url: str) -> None:
    run(url, _nothing)
    acknowledged: list[str] = []
    with subprocess.Popen([sys.executable, CLIENT, url], stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        for line in client.stdout:
            acknowledged.append(line.strip())
            if len(acknowledged) == 300:
                client.kill()
        assert client.wait() == -9
    assert len(acknowledged) >= 300

    async def check(store: SqlStore) -> None:
        for name in acknowledged:
            found = await chain(store, ONE, name, limit=1)
            assert [(entry.body, [its.id for its in items]) for entry, items in found] == [
                (f'"{name}"'.encode(), [f"msg_{name}"])
            ]

    run(url, check)


async def _nothing(_: SqlStore) -> None:
    pass


def test_processes_that_open_a_new_database_at_once_all_succeed(new_url: str) -> None:
    names = [f"resp_{number}" for number in range(4)]
    clients = [
        subprocess.Popen(
            [sys.executable, CLIENT, new_url, name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for name in names
    ]
    for client, name in zip(clients, names, strict=True):
        assert client.communicate(timeout=60) == (f"{name}\n", "")

    async def check() -> None:
        async with opened(new_url) as store:
            assert [project.id for project in await store.list_projects()] == [ONE]
            for name in names:
                assert await store.get_response(ONE, name) is not None

    asyncio.run(check())
