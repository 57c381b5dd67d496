"""Conversations: their items in order, and who holds them. On both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace

import pytest

from antiphon.domain.errors import ConversationLocked, InvalidRequest, LeaseLost, NotFound, StoreFailed
from antiphon.domain.jobs import RESPONSE, NewJob
from antiphon.domain.records import ConversationItem, StoredConversation, StoredItem, StoredResponse
from antiphon.stores.store import SqlStore
from contract.store_kit import ONE, TWO, ids, item, response, run


def conversation(name: str = "conv_1", project: str = ONE) -> StoredConversation:
    return StoredConversation(project, name, 1_700_000_000, b'{"topic":"x"}')


def entries(*names: str) -> list[ConversationItem]:
    return [ConversationItem(name, b'{"id":"%s"}' % name.encode()) for name in names]


def talk(
    name: str, *, status: str = "in_progress", owner: str | None = "me", background: bool = False
) -> StoredResponse:
    """A response in the conversation conv_1."""
    return replace(response(name, status=status, owner=owner), conversation_id="conv_1", background=background)


async def names(store: SqlStore, conversation_id: str = "conv_1") -> list[str]:
    return [entry.id for entry in await store.conversation_history(ONE, conversation_id, limit=1000)]


async def lock(store: SqlStore, response_id: str, *, owner: str = "me") -> None:
    await store.beat(owner)
    await store.lock_conversation(ONE, "conv_1", response_id, owner=owner)


async def is_locked(store: SqlStore) -> bool:
    try:
        await store.lock_conversation(ONE, "conv_1", "resp_probe", owner="prober")
    except ConversationLocked:
        return True
    await store.unlock_conversation(ONE, "conv_1", "resp_probe")
    return False


async def refused(doing: Awaitable[object]) -> tuple[type[BaseException], str | None, str | None]:
    try:
        await doing
    except (NotFound, InvalidRequest, ConversationLocked, LeaseLost) as error:
        return type(error), error.code, error.param
    raise AssertionError("nothing was raised")


# --- conversations and items ------------------------------------------------------------------------------------------
def test_a_conversation_is_made_read_changed_and_deleted(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.create_conversation(conversation(), entries("a", "b"))
        assert await store.get_conversation(ONE, "conv_1") == conversation()
        changed = await store.update_conversation(ONE, "conv_1", b"{}")
        assert changed == replace(conversation(), metadata=b"{}")
        assert await store.get_conversation(ONE, "conv_1") == changed
        assert await names(store) == ["a", "b"]
        assert await store.delete_conversation(ONE, "conv_1") is True
        assert await store.delete_conversation(ONE, "conv_1") is False
        assert await store.get_conversation(ONE, "conv_1") is None
        assert await store.get_items(ONE, ["a", "b"]) == {}

    run(url, test)


def test_items_are_appended_listed_and_deleted(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.create_conversation(conversation(), entries("a"))
        await store.add_conversation_items(ONE, "conv_1", entries("c", "b"))
        await store.add_conversation_items(ONE, "conv_1", entries("d"))

        async def page(after: str | None, limit: int, *, up: bool) -> tuple[list[str], bool]:
            return await ids(store.list_conversation_items(ONE, "conv_1", after=after, limit=limit, ascending=up))

        assert await page(None, 9, up=True) == (["a", "c", "b", "d"], False)
        assert await page(None, 3, up=False) == (["d", "b", "c"], True)
        assert await page("c", 1, up=True) == (["b"], True)
        assert await page("c", 1, up=False) == (["a"], False)
        assert await page("a", 5, up=False) == ([], False)
        assert await store.get_conversation_item(ONE, "conv_1", "b") == entries("b")[0]
        assert await store.delete_conversation_item(ONE, "conv_1", "b") == conversation()
        assert await store.delete_conversation_item(ONE, "conv_1", "b") is None
        assert await names(store) == ["a", "c", "d"]

    run(url, test)


def test_an_id_stands_once_in_a_conversation(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.create_conversation(conversation(), entries("a"))
        await store.create_conversation(conversation("conv_2"), entries("a"))
        twice = await refused(store.add_conversation_items(ONE, "conv_1", entries("b", "a")))
        assert twice == (InvalidRequest, "duplicate_item", "items[1].id")
        twice = await refused(store.add_conversation_items(ONE, "conv_1", entries("b", "c", "b")))
        assert twice == (InvalidRequest, "duplicate_item", "items[2].id")
        assert (await refused(store.create_conversation(conversation("conv_3"), entries("b", "b"))))[
            0
        ] is InvalidRequest
        assert await names(store) == ["a"]

    run(url, test)


def test_unknown_foreign_and_impossible_names(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.create_conversation(conversation(), entries("a"))
        missing = (NotFound, None, "conversation_id")
        for project, name in ((TWO, "conv_1"), (ONE, "conv_9"), (ONE, "conv_\x00"), (ONE, "x" * 1000), (ONE, "\ud800")):
            assert await store.get_conversation(project, name) is None
            assert await store.update_conversation(project, name, b"{}") is None
            assert await store.delete_conversation(project, name) is False
            assert await store.get_conversation_item(project, name, "a") is None
            assert await refused(store.add_conversation_items(project, name, entries("z"))) == missing
            assert await refused(store.delete_conversation_item(project, name, "a")) == missing
            assert await refused(store.conversation_history(project, name, limit=9)) == missing
            listing = store.list_conversation_items(project, name, after=None, limit=9, ascending=True)
            assert await refused(listing) == missing
            taking = store.lock_conversation(project, name, "resp_1", owner="me")
            assert await refused(taking) == missing
        for after in ("z", "\x00"):
            listing = store.list_conversation_items(ONE, "conv_1", after=after, limit=9, ascending=True)
            assert await refused(listing) == (NotFound, None, "after")
        assert await store.delete_conversation_item(ONE, "conv_1", "\x00") is None
        with pytest.raises(StoreFailed):
            await store.create_conversation(conversation(project="proj_nobody"))
        too_long = await refused(store.conversation_history(ONE, "conv_1", limit=0))
        assert too_long == (InvalidRequest, "conversation_too_long", "conversation")

    run(url, test)


def test_references_find_items_of_conversations(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.create_conversation(conversation(), entries("a", "b"))
        await store.create_conversation(conversation(project=TWO), entries("c"))
        await store.put_response(response("resp_1"), [item("b", body=b'"the response\'s"')])
        found = await store.get_items(ONE, ["a", "b", "c"])
        assert found == {
            "a": StoredItem("a", 0, "input", b'{"id":"a"}'),
            "b": StoredItem("b", 0, "input", b'"the response\'s"'),
        }

    run(url, test)


# --- turns ------------------------------------------------------------------------------------------------------------
def test_one_response_at_a_time(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.create_conversation(conversation(), entries("a"))
        outcomes = await asyncio.gather(*(lock(store, f"resp_{n}") for n in range(8)), return_exceptions=True)
        kinds = [None if outcome is None else type(outcome) for outcome in outcomes]
        assert sorted(map(str, kinds)) == sorted(map(str, [None, *[ConversationLocked] * 7]))
        winner = f"resp_{kinds.index(None)}"
        locked = (ConversationLocked, "conversation_locked", None)
        assert await refused(store.add_conversation_items(ONE, "conv_1", entries("z"))) == locked
        assert await refused(store.delete_conversation_item(ONE, "conv_1", "a")) == locked
        await store.unlock_conversation(ONE, "conv_1", "resp_other")
        assert await is_locked(store)
        await store.unlock_conversation(ONE, "conv_1", winner)
        assert not await is_locked(store)
        assert await names(store) == ["a"]

    run(url, test)


def test_the_hold_of_a_worker_that_is_gone_ends(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.create_conversation(conversation())
        await lock(store, "resp_1")
        assert await is_locked(store)
        await store.leave("somebody")
        assert await is_locked(store)
        await store.leave("me")
        assert not await is_locked(store)
        await lock(store, "resp_2")
        assert await is_locked(store)
        await store.leave("me")
        await lock(store, "resp_3", owner="other")
        # What the first one wanted to say comes too late, in whatever way it is stored.
        late = (LeaseLost, "lease_lost", None)
        assert await refused(store.append_and_unlock(ONE, "conv_1", "resp_2", entries("z"))) == late
        assert await refused(store.put_response(talk("resp_2"))) == late
        ending = store.put_response(talk("resp_2", status="completed"), appended=entries("z"))
        assert await refused(ending) == late
        assert await store.get_response(ONE, "resp_2") is None
        assert await names(store) == []
        assert await is_locked(store)

    run(url, test)


def test_the_end_of_a_response_appends_and_frees_at_once(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.create_conversation(conversation(), entries("a"))
        # Stored once, at its end.
        await lock(store, "resp_1")
        await store.put_response(talk("resp_1", status="completed"), [item("b")], appended=entries("b", "c"))
        assert (await names(store), await is_locked(store)) == (["a", "b", "c"], False)
        # Stored at its beginning, and again at its end.
        await lock(store, "resp_2")
        await store.put_response(talk("resp_2"))
        await store.leave("me")
        assert await is_locked(store)
        await store.advance_response(talk("resp_2"))
        await store.advance_response(talk("resp_2", status="completed"), appended=entries("d"))
        assert (await names(store), await is_locked(store)) == (["a", "b", "c", "d"], False)
        # Not stored at all.
        await lock(store, "resp_3")
        await store.append_and_unlock(ONE, "conv_1", "resp_3", entries("e"))
        assert (await names(store), await is_locked(store)) == (["a", "b", "c", "d", "e"], False)

    run(url, test)


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_response_that_said_nothing_frees_too(url: str, status: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.create_conversation(conversation())
        await lock(store, "resp_1")
        await store.put_response(talk("resp_1"))
        await store.advance_response(talk("resp_1", status=status))
        assert (await names(store), await is_locked(store)) == ([], False)

    run(url, test)


async def taken(store: SqlStore, worker: str) -> list[StoredResponse]:
    """What a worker takes that is not there."""
    jobs = await store.claim_jobs(worker, await store.free_jobs(RESPONSE, each=9, limit=9))
    found = [await store.get_response(*job.name) for job in jobs]
    return [each for each in found if each is not None]


def test_a_background_response_holds_it_whoever_makes_it(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.create_conversation(conversation())
        await lock(store, "resp_1")
        made_by = NewJob(ONE, RESPONSE, b"", id="resp_1")
        await store.put_response(talk("resp_1", status="queued", owner=None, background=True), job=made_by)
        # Whoever had accepted it cannot take it away; its own worker can die, too.
        await store.leave("me")
        assert await is_locked(store)
        await store.unlock_conversation(ONE, "conv_1", "resp_1")
        assert await is_locked(store)
        first = await taken(store, "w1")
        assert [taken.id for taken in first] == ["resp_1"]
        second = await taken(store, "w2")
        assert await is_locked(store)
        stale, fresh = (replace(taken[0], status="completed") for taken in (first, second))
        assert (await refused(store.advance_response(stale, appended=entries("z"))))[0] is LeaseLost
        assert await names(store) == []
        await store.advance_response(fresh, appended=entries("a"))
        assert (await names(store), await is_locked(store)) == (["a"], False)

    run(url, test)


def test_deleting_a_response_frees_its_conversation(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.create_conversation(conversation())
        await lock(store, "resp_1")
        await store.put_response(talk("resp_1"))
        assert await store.delete_response(ONE, "resp_1") is True
        assert not await is_locked(store)
        assert (await refused(store.advance_response(talk("resp_1", status="completed"))))[0] is LeaseLost

    run(url, test)


def test_a_conversation_that_is_deleted_meanwhile_gains_nothing(url: str) -> None:
    async def test(store: SqlStore) -> None:
        for number, stored in enumerate((False, False, True)):
            await store.create_conversation(conversation(), entries("a"))
            name = f"resp_{number}"
            await lock(store, name)
            if stored:
                await store.put_response(talk(name))
            await store.delete_conversation(ONE, "conv_1")
            done = talk(name, status="completed")
            if stored:
                await store.advance_response(done, appended=entries("z"))
            elif number:
                await store.put_response(done, appended=entries("z"))
            else:
                await store.append_and_unlock(ONE, "conv_1", name, entries("z"))
            assert (await store.get_response(ONE, name) is None) == (number == 0)
            assert await store.get_items(ONE, ["z"]) == {}

    run(url, test)


def test_how_long_a_project_keeps_its_responses(url: str) -> None:
    async def test(store: SqlStore) -> None:
        project = await store.get_project(ONE)
        assert project is not None
        assert (project.response_ttl, project.expiry(10)) == (None, 10 + 30 * 86_400)
        for ttl, expiry in ((60, 70), (0, None)):
            assert await store.set_response_ttl(ONE, ttl)
            project = await store.get_project(ONE)
            assert project is not None
            assert (project.response_ttl, project.expiry(10)) == (ttl, expiry)
        assert not await store.set_response_ttl("proj_nobody", 5)

    run(url, test)
