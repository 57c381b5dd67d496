"""Responses and their items, on both databases."""

from __future__ import annotations

import pytest

from antiphon.domain.errors import InvalidRequest, NotFound, StoreFailed
from antiphon.domain.records import StoredItem
from antiphon.stores.store import SqlStore
from contract.store_kit import ONE, TWO, chain, ids, item, response, run

HOSTILE = "resp_' OR 1=1; -- %s :x \\ \U0001f600"


def test_a_response_comes_back_as_it_was(url: str) -> None:
    async def test(store: SqlStore) -> None:
        body = '{"text":"nul \\u0000, ünï \U0001f600 \u2028, quote \' %s :name"}'.encode()
        stored = response(HOSTILE, body=body, previous="resp_before", owner="server-1", at=2**40, status="queued")
        await store.put_response(stored)
        assert await store.get_response(ONE, HOSTILE) == stored
        assert await store.get_response(ONE, "resp_unknown") is None

    run(url, test)


@pytest.mark.parametrize("bad", ["a\x00b", "\ud800", "x" * 513, "\u00e4" * 257])
def test_an_id_that_cannot_be_stored_is_unknown_and_refused(url: str, bad: str) -> None:
    async def test(store: SqlStore) -> None:
        assert await store.get_response(ONE, bad) is None
        assert not await store.delete_response(ONE, bad)
        assert await chain(store, ONE, bad, limit=10) == []
        assert await store.get_items(ONE, [bad]) == {}
        with pytest.raises(NotFound):
            await store.list_items(ONE, "resp_1", after=bad, limit=10, ascending=True)
        with pytest.raises(InvalidRequest):
            await store.put_response(response("resp_1"), [item("msg_1"), StoredItem(bad, 1, "input", b"{}")])
        assert await store.get_response(ONE, "resp_1") is None

    run(url, test)


def test_bodies_of_a_megabyte_and_of_any_bytes_are_kept(url: str) -> None:
    async def test(store: SqlStore) -> None:
        big = bytes(range(256)) * 4096
        await store.put_response(response("resp_1", body=big), [item("msg_1", body=big), item("msg_2", 1, body=b"")])
        found = await store.get_response(ONE, "resp_1")
        assert found is not None
        assert found.body == big
        page = await store.list_items(ONE, "resp_1", after=None, limit=10, ascending=True)
        assert [entry.body for entry in page.data] == [big, b""]
        assert type(found.body) is bytes
        assert type(page.data[0].body) is bytes

    run(url, test)


def test_the_same_id_replaces_the_response_and_the_same_places_their_items(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.put_response(
            response("resp_1", status="in_progress", owner="me"), [item("msg_1"), item("msg_2", 1)]
        )
        later = response("resp_1", at=1_700_000_009, body=b"{}")
        await store.put_response(later, [item("msg_3"), item("msg_4", 0, "output")])
        assert await store.get_response(ONE, "resp_1") == later
        page = store.list_items(ONE, "resp_1", after=None, limit=10, ascending=True)
        assert await ids(page) == (["msg_3", "msg_2"], False)
        assert set(await store.get_items(ONE, ["msg_1", "msg_2", "msg_3", "msg_4"])) == {"msg_2", "msg_3", "msg_4"}

        [(_, kept)] = await chain(store, ONE, "resp_1", limit=1)
        assert [entry.id for entry in kept] == ["msg_3", "msg_2", "msg_4"]

    run(url, test)


def test_deleting_takes_the_items_and_says_whether_there_was_one(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.put_response(response("resp_1"), [item("msg_1")])
        await store.put_response(response("resp_2"), [item("msg_2")])
        assert await store.delete_response(ONE, "resp_1")
        assert not await store.delete_response(ONE, "resp_1")
        assert await store.get_response(ONE, "resp_1") is None
        assert set(await store.get_items(ONE, ["msg_1", "msg_2"])) == {"msg_2"}
        page = store.list_items(ONE, "resp_1", after=None, limit=10, ascending=True)
        assert await ids(page) == ([], False)

    run(url, test)


def test_another_projects_ids_behave_as_unknown(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.put_response(response("resp_1", status="queued"), [item("msg_1")])
        await store.put_response(response("resp_2", previous="resp_1"))
        assert await store.get_response(TWO, "resp_1") is None
        assert not await store.delete_response(TWO, "resp_1")
        assert await store.get_items(TWO, ["msg_1"]) == {}
        assert await chain(store, TWO, "resp_1", limit=10) == []
        assert await ids(store.list_items(TWO, "resp_1", after=None, limit=10, ascending=True)) == ([], False)
        with pytest.raises(NotFound):
            await store.list_items(TWO, "resp_1", after="msg_1", limit=10, ascending=True)
        # The same ids in another project are other objects.
        own = response("resp_1", project=TWO, body=b'"two"')
        await store.put_response(own, [item("msg_1", body=b'"two"')])
        await store.put_response(response("resp_3", project=TWO, previous="resp_2"))
        with pytest.raises(InvalidRequest, match="'resp_2' not found"):
            await chain(store, TWO, "resp_3", limit=10)
        assert await store.delete_response(ONE, "resp_1")
        assert await store.get_response(TWO, "resp_1") == own
        assert (await store.get_items(TWO, ["msg_1"]))["msg_1"].body == b'"two"'

    run(url, test)


def test_a_project_that_does_not_exist_takes_nothing(url: str) -> None:
    async def test(store: SqlStore) -> None:
        with pytest.raises(StoreFailed) as raised:
            await store.put_response(response("resp_1", project="proj_unknown"))
        assert "INSERT" not in raised.value.message
        assert "proj_unknown" not in raised.value.message
        assert await store.get_response("proj_unknown", "resp_1") is None

    run(url, test)


def test_input_items_are_paged_both_ways(url: str) -> None:
    async def test(store: SqlStore) -> None:
        inputs = [item(f"msg_{number}", number) for number in range(7)]
        await store.put_response(response("resp_1"), [*reversed(inputs), item("msg_out", 0, "output")])
        await store.put_response(response("resp_2"), [item("msg_other")])

        async def pages(ascending: bool) -> list[list[str]]:
            result: list[list[str]] = []
            more = True
            while more:
                after = result[-1][-1] if result else None
                names, more = await ids(store.list_items(ONE, "resp_1", after=after, limit=3, ascending=ascending))
                result.append(names)
            return result

        up = [["msg_0", "msg_1", "msg_2"], ["msg_3", "msg_4", "msg_5"], ["msg_6"]]
        down = [["msg_6", "msg_5", "msg_4"], ["msg_3", "msg_2", "msg_1"], ["msg_0"]]
        assert await pages(ascending=True) == up
        assert await pages(ascending=False) == down
        last = store.list_items(ONE, "resp_1", after="msg_6", limit=3, ascending=True)
        assert await ids(last) == ([], False)
        exact = store.list_items(ONE, "resp_1", after="msg_3", limit=3, ascending=True)
        assert await ids(exact) == (["msg_4", "msg_5", "msg_6"], False)
        for unknown in ("msg_unknown", "msg_out", "msg_other"):
            with pytest.raises(NotFound) as raised:
                await store.list_items(ONE, "resp_1", after=unknown, limit=3, ascending=True)
            assert raised.value.param == "after"

    run(url, test)


def test_paging_ends_when_an_item_id_was_sent_twice(url: str) -> None:
    async def test(store: SqlStore) -> None:
        names = ["msg_a", "msg_b", "msg_a", "msg_c"]
        await store.put_response(response("resp_1"), [item(name, place) for place, name in enumerate(names)])
        up = store.list_items(ONE, "resp_1", after="msg_a", limit=10, ascending=True)
        assert await ids(up) == (["msg_c"], False)
        down = store.list_items(ONE, "resp_1", after="msg_a", limit=10, ascending=False)
        assert await ids(down) == ([], False)

    run(url, test)


def test_of_items_with_one_id_the_one_stored_last_is_found(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.put_response(response("resp_1"), [item("msg_1", body=b"1")])
        await store.put_response(response("resp_2"), [item("msg_1", 3, "output", body=b"2")])
        found = await store.get_items(ONE, ["msg_1", "msg_1", "msg_unknown"])
        assert found == {"msg_1": item("msg_1", 3, "output", body=b"2")}
        await store.delete_response(ONE, "resp_2")
        assert (await store.get_items(ONE, ["msg_1"]))["msg_1"].body == b"1"
        assert await store.get_items(ONE, []) == {}

    run(url, test)


def test_thousands_of_items_can_be_asked_for_at_once(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.put_response(response("resp_1"), [item(f"msg_{place}", place) for place in range(1200)])
        wanted = [f"msg_{place}" for place in range(0, 5000, 2)]
        assert sorted(await store.get_items(ONE, wanted)) == sorted(wanted[:600])

    run(url, test)


def test_a_chain_comes_oldest_first_with_its_items(url: str) -> None:
    async def test(store: SqlStore) -> None:
        first = response("resp_z")
        second = response("resp_a", previous="resp_z")
        third = response("resp_m", previous="resp_a")
        branch = response("resp_b", previous="resp_z")
        its_items = [item("i0"), item("i1", 1), item("o0", 0, "output"), item("o1", 1, "output")]
        await store.put_response(first, its_items[::-1])
        await store.put_response(second)
        await store.put_response(third, [item("i0")])
        await store.put_response(branch, [item("b0")])
        assert await chain(store, ONE, "resp_m", limit=3) == [
            (first, its_items),
            (second, []),
            (third, [item("i0")]),
        ]
        assert await chain(store, ONE, "resp_b", limit=3) == [(first, its_items), (branch, [item("b0")])]
        assert await chain(store, ONE, "resp_z", limit=1) == [(first, its_items)]
        assert await chain(store, ONE, "resp_unknown", limit=3) == []

    run(url, test)


def test_a_chain_with_a_gap_or_too_long_or_in_a_circle_is_refused(url: str) -> None:
    async def test(store: SqlStore) -> None:
        for number in range(5):
            previous = f"resp_{number - 1}" if number else None
            await store.put_response(response(f"resp_{number}", previous=previous))
        assert len(await chain(store, ONE, "resp_4", limit=5)) == 5
        with pytest.raises(InvalidRequest) as too_long:
            await chain(store, ONE, "resp_4", limit=4)
        assert (too_long.value.code, too_long.value.param) == ("response_chain_too_long", "previous_response_id")
        await store.delete_response(ONE, "resp_1")
        with pytest.raises(InvalidRequest, match="'resp_1' not found") as gap:
            await chain(store, ONE, "resp_4", limit=5)
        assert (gap.value.code, gap.value.param) == ("previous_response_not_found", "previous_response_id")
        await store.put_response(response("resp_1", previous="resp_4"))
        with pytest.raises(InvalidRequest) as circle:
            await chain(store, ONE, "resp_4", limit=1000)
        assert circle.value.code == "response_chain_too_long"

    run(url, test)
