"""Prompts and their versions, on both databases."""

from __future__ import annotations

import asyncio

import pytest

from antiphon.domain.errors import Conflict, NotFound
from antiphon.domain.records import StoredPrompt, StoredPromptVersion
from antiphon.stores.store import SqlStore
from contract.store_kit import ONE, TWO, ids, opened, run


def prompt(name: str, *, project: str = ONE, published: int | None = 1) -> StoredPrompt:
    return StoredPrompt(project, f"pmpt_{name}", name, 1_700_000_000, published, 1)


async def add(store: SqlStore, name: str, body: bytes = b"{}", *, publish: bool = False) -> int | None:
    return await store.add_prompt_version(ONE, f"pmpt_{name}", body, created_at=5, publish=publish)


def test_a_prompt_comes_back_as_it_was(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.create_prompt(prompt("a", published=None), b'{"v":1}')
        assert await store.get_prompt(ONE, "pmpt_a") == prompt("a", published=None)
        first = StoredPromptVersion("pmpt_a", 1, 1_700_000_000, b'{"v":1}')
        assert await store.get_prompt_version(ONE, "pmpt_a", 1) == first
        assert await store.get_prompt_version(ONE, "pmpt_a", 2) is None
        with pytest.raises(Conflict):
            await store.create_prompt(prompt("a"), b"{}")
        assert await store.get_prompt_version(ONE, "pmpt_a", 1) == first
        assert await store.rename_prompt(ONE, "pmpt_a", "ünï")
        found = await store.get_prompt(ONE, "pmpt_a")
        assert found is not None
        assert found.name == "ünï"

    run(url, test)


def test_versions_are_numbered_and_published(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.create_prompt(prompt("a"), b"1")
        assert await add(store, "a", b"2") == 2
        assert await add(store, "a", b"3", publish=True) == 3
        found = await store.get_prompt(ONE, "pmpt_a")
        assert found is not None
        assert (found.published, found.latest) == (3, 3)
        assert await store.publish_prompt(ONE, "pmpt_a", 1)
        assert not await store.publish_prompt(ONE, "pmpt_a", 4)
        found = await store.get_prompt(ONE, "pmpt_a")
        assert found is not None
        assert found.published == 1
        for after, ascending, expected in [
            (None, True, ([1, 2], True)),
            (None, False, ([3, 2], True)),
            (2, True, ([3], False)),
            (2, False, ([1], False)),
        ]:
            page = await store.list_prompt_versions(ONE, "pmpt_a", after=after, limit=2, ascending=ascending)
            assert ([version.version for version in page.data], page.has_more) == expected

    run(url, test)


def test_versions_made_at_once_by_two_servers_are_all_there(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.create_prompt(prompt("a"), b"1")
        async with opened(url) as other:
            numbers = await asyncio.gather(*(add(server, "a") for server in (store, other) for _ in range(10)))
        assert sorted(number or 0 for number in numbers) == list(range(2, 22))

    run(url, test)


def test_lists(url: str) -> None:
    async def test(store: SqlStore) -> None:
        for name in "abc":
            await store.create_prompt(prompt(name), b"{}")
        await store.create_prompt(prompt("d", project=TWO), b"{}")
        listed = store.list_prompts
        assert await ids(listed(ONE, after=None, limit=2, ascending=True)) == (["pmpt_a", "pmpt_b"], True)
        assert await ids(listed(ONE, after="pmpt_b", limit=2, ascending=True)) == (["pmpt_c"], False)
        assert await ids(listed(ONE, after="pmpt_b", limit=2, ascending=False)) == (["pmpt_a"], False)
        for unknown in ("pmpt_d", "pmpt_x", "a\x00b"):
            with pytest.raises(NotFound):
                await listed(ONE, after=unknown, limit=2, ascending=True)

    run(url, test)


def test_deleting_takes_the_versions_and_other_projects_see_nothing(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.create_prompt(prompt("a"), b"{}")
        await store.create_prompt(prompt("a", project=TWO), b"two")
        assert await store.get_prompt("proj_none", "pmpt_a") is None
        assert await store.delete_prompt(ONE, "pmpt_a")
        assert not await store.delete_prompt(ONE, "pmpt_a")
        assert not await store.rename_prompt(ONE, "pmpt_a", "x")
        assert await add(store, "a") is None
        assert await store.get_prompt_version(ONE, "pmpt_a", 1) is None
        assert await store.get_prompt_version(TWO, "pmpt_a", 1) is not None

    run(url, test)
