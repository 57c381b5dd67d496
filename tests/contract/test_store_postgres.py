"""What only PostgreSQL has: a server that hangs up, or is not there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from antiphon.domain import limits
from antiphon.domain.errors import SetupError, StoreUnavailable
from antiphon.stores.postgres import PostgresDriver
from antiphon.stores.query import DatabaseSession
from antiphon.stores.store import SqlStore
from contract.conftest import Postgres
from contract.store_kit import ONE, item, response, run, writer_held


def test_lost_connections_are_made_anew(postgres: Postgres) -> None:
    name = postgres.migrated()

    async def test(store: SqlStore) -> None:
        await store.put_response(response("resp_1"))
        for _ in range(10):  # so that each reader has a connection to lose
            assert await store.get_response(ONE, "resp_1") is not None
        for attempt in range(3):
            hang_up = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            await asyncio.to_thread(postgres.run, hang_up)
            assert await store.get_response(ONE, "resp_1") is not None
            await store.put_response(response(f"resp_{attempt + 2}"), [item(f"msg_{attempt}")])
            await store.ping()
        assert len(await store.get_items(ONE, [f"msg_{attempt}" for attempt in range(3)])) == 3

    run(postgres.url(name), test)
    postgres.drop(name)


def test_a_process_that_stands_still_within_a_transaction_keeps_nothing_from_others(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = postgres.migrated()
    monkeypatch.setattr(limits, "STORE_IDLE_TIMEOUT", 0.3)
    stopped = PostgresDriver(postgres.url(name))
    still = stopped.connect(read_only=False)

    async def test(store: SqlStore) -> None:
        still.cursor().execute("BEGIN", {})
        still.cursor().execute("LOCK TABLE responses", {})
        await store.put_response(response("resp_1"))
        # What it wakes up with is told as what it is, and its connection is known to be gone.
        with pytest.raises(stopped.error) as woken:
            still.cursor().execute("COMMIT", {})
        assert stopped.lost(still, woken.value)
        assert isinstance(stopped.failure(woken.value), StoreUnavailable)

    run(postgres.url(name), test)
    postgres.drop(name)


def test_a_connection_lost_within_a_group_loses_no_write(postgres: Postgres) -> None:
    name = postgres.migrated()
    calls = []

    def hang_up(session: DatabaseSession, batch: Sequence[None]) -> list[None]:
        calls.append(len(batch))
        if len(calls) == 1:
            postgres.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        session._cursor.execute("SELECT 1", {})
        return [None] * len(batch)

    async def test(store: SqlStore) -> None:
        async with writer_held(store):
            writes = [asyncio.create_task(store.put_response(response(f"resp_{n}"))) for n in range(20)]
            writes.append(asyncio.create_task(store._database.write(hang_up, None, key="hang up")))
            await asyncio.sleep(0)
        assert await asyncio.gather(*writes) == [None] * 21
        assert calls == [1, 1]
        for number in range(20):
            assert await store.get_response(ONE, f"resp_{number}") is not None

    run(postgres.url(name), test)
    postgres.drop(name)


def test_a_server_that_is_not_there_is_a_setup_error_without_the_address() -> None:
    url = "postgresql://someone:hunter2@127.0.0.1:9/nowhere?connect_timeout=2"
    with pytest.raises(SetupError, match="does not answer") as raised:
        asyncio.run(SqlStore(url, backups=None).open())
    assert "hunter2" not in str(raised.value)
    assert "127.0.0.1" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_database_that_does_not_exist_is_named_as_the_cause(postgres: Postgres) -> None:
    with pytest.raises(SetupError, match="create it first"):
        asyncio.run(SqlStore(postgres.url("no_such_database"), backups=None).open())


@pytest.mark.parametrize("scheme", ["postgres", "postgresql+psycopg"])
def test_other_spellings_of_the_address_are_taken(postgres: Postgres, scheme: str) -> None:
    name = postgres.migrated()
    _, _, rest = postgres.url(name).partition("://")

    async def test(store: SqlStore) -> None:
        await store.ping()

    run(f"{scheme}://{rest}", test)
    postgres.drop(name)
