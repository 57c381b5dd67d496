"""Sessions of browsers, on both databases."""

from __future__ import annotations

import pytest

from antiphon.domain.errors import Conflict, NotFound
from antiphon.domain.sessions import Session
from antiphon.domain.tenancy import Key
from antiphon.stores.store import SqlStore
from contract.store_kit import ONE, TWO, run


def key(name: str, project: str = ONE) -> Key:
    return Key(name, project, name, name.encode().ljust(32), "ab…yz", created_at=5)


def session(name: str, key_id: str = "key_1", at: int = 100, until: int = 200) -> Session:
    return Session(f"sess_{name}", key_id, b"\x00\xff" + name.encode().ljust(30), at, until)


def test_a_session_is_found_with_its_caller(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.create_key(key("key_1"))
        await store.create_key(key("key_2", TWO))
        for made in (session("a"), session("b", "key_2")):
            await store.add_session(made, most=10)
            found = await store.find_session(made.digest)
            assert found is not None
            assert found[0] == made
            assert found[1] == await store.find_caller(made.key_id.encode().ljust(32))
        assert await store.find_session(session("c").digest) is None
        assert await store.find_session(b"") is None

    run(url, test)


def test_a_revoked_key_is_seen_with_its_session(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.create_key(key("key_1"))
        await store.add_session(session("a"), most=10)
        await store.revoke_key("key_1", 150)
        found = await store.find_session(session("a").digest)
        assert found is not None
        assert found[1].key.revoked_at == 150

    run(url, test)


def test_a_session_is_deleted_once(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.create_key(key("key_1"))
        await store.add_session(session("a"), most=10)
        assert await store.delete_session(session("a").digest)
        assert not await store.delete_session(session("a").digest)
        assert await store.find_session(session("a").digest) is None

    run(url, test)


def test_expired_ones_and_the_oldest_beyond_the_most_go(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.create_key(key("key_1"))
        await store.create_key(key("key_2"))
        await store.add_session(session("old", "key_2", 1, 50), most=10)
        await store.add_session(session("other", "key_2", 60), most=10)
        for number in range(5):
            await store.add_session(session(str(number), at=100), most=3)
        there = [name for name in ("old", "other", *"01234") if await store.find_session(session(name).digest)]
        assert there == ["other", "2", "3", "4"]

    run(url, test)


def test_what_cannot_be_added(url: str) -> None:
    async def test(store: SqlStore) -> None:
        for nobody in ("key_1", "a\x00b", "x" * 10_000):
            with pytest.raises(NotFound):
                await store.add_session(session("a", nobody), most=10)
        await store.create_key(key("key_1"))
        await store.add_session(session("a"), most=10)
        with pytest.raises(Conflict):
            await store.add_session(session("a"), most=10)

    run(url, test)
