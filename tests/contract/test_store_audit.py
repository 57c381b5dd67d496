"""The log of administrative changes, on both databases."""

from __future__ import annotations

import pytest

from antiphon.domain.errors import NotFound
from antiphon.domain.organisation import CLI, Actor, AuditEntry, AuditFilter, changed
from antiphon.stores.store import SqlStore
from contract.store_kit import ONE, TWO, ids, run

ANNA = Actor("api_key", "key_anna", "user_anna", "anna@example.com", "192.0.2.1")
ENTRIES = [
    AuditEntry("project.created", CLI, TWO, TWO, after={"name": "two"}, at=10, id="a1"),
    AuditEntry("project.updated", ANNA, ONE, ONE, {"name": "ä"}, {"name": None}, at=20, id="a2"),
    AuditEntry("user.deleted", ANNA, "user_ben", at=30, id="a3"),
    AuditEntry("project.archived", CLI, ONE, ONE, at=30, id="a4"),
]


async def fill(store: SqlStore) -> None:
    for entry in ENTRIES:
        await store.add_audit(entry)


def test_entries_come_back_as_they_were_newest_first(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await fill(store)
        assert (await store.list_audit(AuditFilter(), limit=10)).data == ENTRIES[::-1]

    run(url, test)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (AuditFilter(since=20, until=29), ["a2"]),
        (AuditFilter(projects=(ONE,)), ["a4", "a2"]),
        (AuditFilter(projects=("proj_unknown", "\x00")), []),
        (AuditFilter(types=("project.created", "user.deleted")), ["a3", "a1"]),
        (AuditFilter(actors=("user_anna",)), ["a3", "a2"]),
        (AuditFilter(actors=("key_anna",), projects=(ONE,)), ["a2"]),
        (AuditFilter(emails=("anna@example.com",)), ["a3", "a2"]),
        (AuditFilter(resources=("user_ben", TWO)), ["a3", "a1"]),
        (AuditFilter(after="a3"), ["a2", "a1"]),
        (AuditFilter(before="a2"), ["a4", "a3"]),
    ],
)
def test_filters(url: str, wanted: AuditFilter, found: list[str]) -> None:
    async def test(store: SqlStore) -> None:
        await fill(store)
        assert await ids(store.list_audit(wanted, limit=10)) == (found, False)

    run(url, test)


def test_pages_both_ways(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await fill(store)
        assert await ids(store.list_audit(AuditFilter(), limit=2)) == (["a4", "a3"], True)
        assert await ids(store.list_audit(AuditFilter(after="a3"), limit=2)) == (["a2", "a1"], False)
        assert await ids(store.list_audit(AuditFilter(before="a1"), limit=2)) == (["a3", "a2"], True)
        for cursor in (AuditFilter(after="a9"), AuditFilter(before="a\x00")):
            with pytest.raises(NotFound):
                await store.list_audit(cursor, limit=2)

    run(url, test)


def test_only_what_has_changed_is_told() -> None:
    assert changed({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4}) == ({"b": 2}, {"b": 3, "c": 4})
