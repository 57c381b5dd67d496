"""The ledger, on both databases."""

from __future__ import annotations

import msgspec
import pytest

from antiphon.domain.amounts import MOST
from antiphon.domain.errors import StoreUnavailable, Unstorable
from antiphon.domain.ledger import Asked, Entry
from antiphon.stores.store import SqlStore
from contract.store_kit import ONE, TWO, run
from support.ledger import entry

DAY = 86_400
NOON = 1_700_000_000 // DAY * DAY + DAY // 2


def test_an_entry_is_found_by_what_it_made_and_by_its_request(url: str) -> None:
    async def test(store: SqlStore) -> None:
        first = entry("a", object_id="resp_1", request_id="req_1", cost=None, saved=7, first_ms=3, user_id="user-1")
        await store.add_entries([first, entry("b", request_id="req_2")])
        assert await store.find_entries("resp_1") == [first]
        assert await store.find_entries("req_1") == [first]
        assert await store.find_entries("resp_2") == []
        assert await store.find_entries("nul\x00") == []

    run(url, test)


def test_an_entry_that_is_added_twice_is_there_once(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.add_entries([entry("a"), entry("b")])
        await store.add_entries([entry("b"), entry("c")])
        [total] = await store.usage(Asked(0, NOON * 2, DAY * 100_000))
        assert total.calls == 3

    run(url, test)


def test_usage_is_added_up_by_bucket_and_group(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.add_entries(
            [
                entry("a", at=NOON * 1000, input_tokens=10, output_tokens=1, cost=5),
                entry("b", at=NOON * 1000 + 999, input_tokens=20, output_tokens=2, cost=None),
                entry("c", at=NOON * 1000, project_id=TWO, model="m2", served="m2-real", cost=2**62, error="x"),
                entry("d", at=(NOON + DAY) * 1000, input_tokens=40, batch=1, cost=1),
                entry("e", at=(NOON + 2 * DAY) * 1000, cost=1),
            ]
        )
        start = NOON - DAY // 2
        sums = await store.usage(Asked(start, start + 2 * DAY, DAY, group_by=("project_id", "model")))
        assert [(s.bucket, s.group, s.calls, s.input_tokens, s.cost, s.unknown, s.failed) for s in sums] == [
            (start, {"project_id": ONE, "model": "model-a"}, 2, 30, 5, 1, 0),
            (start, {"project_id": TWO, "model": "m2-real"}, 1, 0, 2**62, 0, 1),
            (start + DAY, {"project_id": ONE, "model": "model-a"}, 1, 40, 1, 0, 0),
        ]
        # A bucket is no longer than its edges say.
        assert await store.usage(Asked(NOON + 1, NOON + DAY, DAY)) == []
        only = await store.usage(Asked(start, NOON + DAY, DAY, projects=[TWO], models=["m2-real"], batch=False))
        assert [s.calls for s in only] == [1]
        assert await store.usage(Asked(start, NOON + DAY, DAY, keys=["another"])) == []
        assert await store.usage(Asked(start, NOON + DAY, DAY, users=["nul\x00"])) == []

    run(url, test)


def test_old_entries_are_swept_oldest_first(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.add_entries([entry(name, at=at * 1000) for name, at in (("c", 30), ("a", 10), ("b", 20))])
        assert await store.sweep_entries(before=30, limit=1) == 1
        assert await store.sweep_entries(before=30, limit=5) == 1
        assert await store.sweep_entries(before=30, limit=5) == 0
        [rest] = await store.usage(Asked(0, 100, 100))
        assert rest.calls == 1

    run(url, test)


def test_every_member_has_its_column(url: str) -> None:
    async def test(store: SqlStore) -> None:
        values = msgspec.structs.asdict(entry("a", object_id="o"))
        numbered = {
            name: number if isinstance(value, int) else value
            for number, (name, value) in enumerate(values.items(), start=1)
        }
        await store.add_entries([Entry(**numbered)])
        assert await store.find_entries("o") == [Entry(**numbered)]

    run(url, test)


def test_sums_stand_still_where_64_bits_end(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.add_entries(
            [
                entry("a", at=NOON * 1000, input_tokens=2**49, output_tokens=MOST, cost=MOST),
                entry("b", at=NOON * 1000, input_tokens=2**49, output_tokens=MOST, cost=MOST),
                entry("c", at=NOON * 1000, input_tokens=3, output_tokens=1, cost=1),
            ]
        )
        [total] = await store.usage(Asked(0, NOON * 2, DAY * 100_000))
        assert (total.input_tokens, total.output_tokens, total.cost, total.calls) == (2**50 + 3, MOST, MOST, 3)

    run(url, test)


@pytest.mark.parametrize(
    "spoilt", [{"model": "a\x00b"}, {"output_tokens": 2**63}, {"served": "\ud800"}, {"attempts": None}], ids=repr
)
def test_what_can_never_be_written_is_told_apart_from_a_database_that_is_down(
    url: str, spoilt: dict[str, object]
) -> None:
    """SQLite takes a NUL: there is nothing to tell apart then."""

    async def test(store: SqlStore) -> None:
        if not (url.startswith("sqlite") and spoilt.get("model")):
            with pytest.raises(Unstorable) as refused:
                await store.add_entries([entry("a"), entry("b", **spoilt)])
            assert refused.value.status == 400
            assert "answer" not in refused.value.message
        await store.add_entries([entry("c")])
        assert await store.find_entries("req_c")

    run(url, test)


def test_a_database_that_is_away_is_no_fault_of_a_value() -> None:
    from antiphon.stores.postgres import PostgresDriver

    driver = PostgresDriver("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(driver.error) as refused:
        driver.connect(read_only=True)
    failure = driver.failure(refused.value)
    assert type(failure) is StoreUnavailable
    assert "does not answer" in str(failure)
