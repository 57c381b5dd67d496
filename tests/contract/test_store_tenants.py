"""Projects and keys, on both databases."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from antiphon.domain.errors import Conflict, InvalidRequest, NotFound
from antiphon.domain.tenancy import Key, Project
from antiphon.stores.store import SqlStore
from contract.store_kit import ONE, TWO, run


def _key(name: str, project: str = ONE) -> Key:
    return Key(name, project, f"the key {name}", b"\xff\x00" + name.encode().ljust(30), "ab…yz", created_at=5)


def test_projects_are_found_by_id_and_by_name_and_listed_oldest_first(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.create_project(Project("proj_old", "älter\u2028x", 0))
        await store.create_project(Project("proj_same", "same second", 2))
        assert await store.get_project("proj_old") == Project("proj_old", "älter\u2028x", 0)
        assert await store.get_project("älter\u2028x") == Project("proj_old", "älter\u2028x", 0)
        assert await store.get_project("nobody") is None
        assert await store.get_project("a\x00b") is None
        assert [project.id for project in await store.list_projects()] == ["proj_old", ONE, TWO, "proj_same"]

    run(url, test)


def test_a_name_that_is_another_projects_id_does_not_hide_that_project(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.create_project(Project("proj_liar", ONE, 0))
        found = await store.get_project(ONE)
        assert found is not None
        assert found.id == ONE

    run(url, test)


def test_a_project_of_the_same_name_or_id_is_a_conflict(url: str) -> None:
    async def test(store: SqlStore) -> None:
        with pytest.raises(Conflict, match="'one' exists already"):
            await store.create_project(Project("proj_other", "one", 1))
        with pytest.raises(Conflict):
            await store.create_project(Project(ONE, "other", 1))
        with pytest.raises(InvalidRequest):
            await store.create_project(Project("proj_nul", "a\x00b", 1))
        assert len(await store.list_projects()) == 2

    run(url, test)


def test_of_many_projects_of_one_name_created_at_once_one_wins(url: str) -> None:
    async def test(store: SqlStore) -> None:
        attempts = [store.create_project(Project(f"proj_{number}", "wanted", 1)) for number in range(10)]
        outcomes = await asyncio.gather(*attempts, return_exceptions=True)
        assert outcomes.count(None) == 1
        assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 9

    run(url, test)


def test_a_key_comes_back_as_it_was(url: str) -> None:
    async def test(store: SqlStore) -> None:
        plain = _key("key_a")
        ending = replace(_key("key_b", TWO), expires_at=2**40, revoked_at=7, created_at=4)
        await store.create_key(plain)
        await store.create_key(ending)
        assert await store.find_key(plain.digest) == plain
        assert await store.find_key(ending.digest) == ending
        assert await store.find_key(b"\x00" * 32) is None
        assert await store.list_keys() == [ending, plain]
        assert await store.list_keys(ONE) == [plain]
        assert await store.list_keys("proj_unknown") == []

    run(url, test)


def test_a_key_needs_a_project_and_its_own_id_and_secret(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.create_key(_key("key_a"))
        with pytest.raises(NotFound):
            await store.create_key(_key("key_b", "proj_unknown"))
        with pytest.raises(Conflict):
            await store.create_key(replace(_key("key_a"), digest=b"x" * 32))
        with pytest.raises(Conflict):
            await store.create_key(replace(_key("key_a"), id="key_c"))
        assert len(await store.list_keys()) == 1

    run(url, test)


def test_revoking_keeps_the_first_time(url: str) -> None:
    async def test(store: SqlStore) -> None:
        key = _key("key_a")
        await store.create_key(key)
        assert await store.revoke_key("key_a", 10)
        assert await store.revoke_key("key_a", 20)
        assert not await store.revoke_key("key_unknown", 10)
        found = await store.find_key(key.digest)
        assert found is not None
        assert found.revoked_at == 10

    run(url, test)
