"""Stored chat completions, on both databases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from antiphon.domain.errors import InvalidRequest, NotFound, StoreFailed
from antiphon.stores.store import SqlStore
from contract.store_kit import ONE, TWO, completion, ids, run


def test_a_completion_comes_back_as_it_was(url: str) -> None:
    async def test(store: SqlStore) -> None:
        metadata = {"z": "first", "a": "", "ünï\x00": "nul \x00 \U0001f600", "quote'": "%s :x"}
        stored = completion("chatcmpl_1", metadata=metadata)
        await store.put_completion(stored)
        found = await store.get_completion(ONE, "chatcmpl_1")
        assert found == stored
        assert list(found.metadata) == list(metadata)
        assert await store.get_completion(ONE, "chatcmpl_2") is None
        assert await store.get_completion(ONE, "a\x00b") is None

    run(url, test)


def test_replacing_one_keeps_its_place_and_replaces_its_metadata(url: str) -> None:
    async def test(store: SqlStore) -> None:
        for name in ("c1", "c2", "c3"):
            await store.put_completion(completion(name, metadata={"old": "1", "kept": "1"}))
        changed = replace(completion("c1", metadata={"kept": "2"}), body=b"{}", messages=b"[]")
        await store.put_completion(changed)
        assert await store.get_completion(ONE, "c1") == changed
        assert await _list(store) == (["c1", "c2", "c3"], False)
        assert await _list(store, metadata={"old": "1"}) == (["c2", "c3"], False)

    run(url, test)


def test_deleting_says_whether_there_was_one(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.put_completion(completion("c1", metadata={"k": "v"}))
        assert await store.delete_completion(ONE, "c1")
        assert not await store.delete_completion(ONE, "c1")
        assert not await store.delete_completion(ONE, "a\x00b")
        assert await store.get_completion(ONE, "c1") is None
        assert await _list(store, metadata={"k": "v"}) == ([], False)
        # Nothing is left over that a new one of the same id would inherit.
        await store.put_completion(completion("c1"))
        assert await store.get_completion(ONE, "c1") == completion("c1")

    run(url, test)


def test_another_projects_completions_behave_as_unknown(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.put_completion(completion("c1", metadata={"k": "one"}))
        assert await store.get_completion(TWO, "c1") is None
        assert not await store.delete_completion(TWO, "c1")
        with pytest.raises(NotFound):
            await _list(store, TWO, after="c1")
        await store.put_completion(completion("c1", project=TWO, metadata={"k": "two"}))
        assert await _list(store, TWO, metadata={"k": "one"}) == ([], False)
        assert await store.get_completion(ONE, "c1") == completion("c1", metadata={"k": "one"})
        with pytest.raises(StoreFailed):
            await store.put_completion(completion("c1", project="proj_unknown"))

    run(url, test)


def test_lists_are_by_time_then_by_insertion_and_paged_both_ways(url: str) -> None:
    async def test(store: SqlStore) -> None:
        # Ids whose order is neither that of time nor that of insertion.
        for name, at in (("m", 5), ("z", 5), ("a", 5), ("k", 4), ("b", 6), ("y", 5)):
            await store.put_completion(completion(name, at=at))
        order = ["k", "m", "z", "a", "y", "b"]

        async def pages(ascending: bool) -> list[str]:
            result: list[str] = []
            more = True
            while more:
                after = result[-1] if result else None
                names, more = await _list(store, after=after, limit=2, ascending=ascending)
                assert len(names) == 2
                result += names
            return result

        assert await pages(ascending=True) == order
        assert await pages(ascending=False) == order[::-1]
        assert await _list(store, after="b") == ([], False)
        for unknown in ("nobody", "a\x00b"):
            with pytest.raises(NotFound) as raised:
                await _list(store, after=unknown)
            assert raised.value.param == "after"

    run(url, test)


def test_filters_must_all_match(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.put_completion(completion("c1", metadata={"team": "red", "stage": "test"}))
        await store.put_completion(completion("c2", metadata={"team": "red", "stage": "live"}, model="model-b"))
        await store.put_completion(completion("c3", metadata={"team": "blue"}))
        assert await _list(store, metadata={"team": "red"}) == (["c1", "c2"], False)
        assert await _list(store, metadata={"team": "red", "stage": "live"}) == (["c2"], False)
        assert await _list(store, metadata={"stage": "red"}) == ([], False)
        assert await _list(store, metadata={"team": "r\x00"}) == ([], False)
        assert await _list(store, model="model-b") == (["c2"], False)
        assert await _list(store, model="model-b", metadata={"team": "blue"}) == ([], False)
        assert await _list(store, model="a\x00b") == ([], False)
        # The cursor need not match the filter itself.
        assert await _list(store, metadata={"team": "blue"}, after="c1") == (["c3"], False)
        assert await _list(store, metadata={"team": "red"}, limit=1) == (["c1"], True)
        page = await store.list_completions(ONE, model=None, metadata={}, after=None, limit=1, ascending=True)
        assert page.data == [completion("c1", metadata={"team": "red", "stage": "test"})]

    run(url, test)


@pytest.mark.parametrize("metadata", [{"k" * 65: "v"}, {"k": "v" * 513}])
def test_metadata_over_the_published_lengths_is_refused(url: str, metadata: dict[str, str]) -> None:
    async def test(store: SqlStore) -> None:
        with pytest.raises(InvalidRequest) as raised:
            await store.put_completion(completion("c1", metadata=metadata))
        assert raised.value.param == "metadata"
        widest = {"\U0001f600" * 64: "\U0001f600" * 512}
        await store.put_completion(completion("c1", metadata=widest))
        assert await _list(store, metadata=widest) == (["c1"], False)

    run(url, test)


async def _list(
    store: SqlStore,
    project: str = ONE,
    *,
    model: str | None = None,
    metadata: dict[str, str] | None = None,
    after: str | None = None,
    limit: int = 20,
    ascending: bool = True,
) -> tuple[list[str], bool]:
    return await ids(
        store.list_completions(
            project, model=model, metadata=metadata or {}, after=after, limit=limit, ascending=ascending
        )
    )
