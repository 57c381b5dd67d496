"""What keys may do, their replacement and last use, and rate limits, on both databases."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from antiphon.domain import limits
from antiphon.domain.errors import Conflict, InvalidRequest
from antiphon.domain.organisation import CLI, AuditEntry, AuditFilter
from antiphon.domain.rates import RateLimit
from antiphon.domain.tenancy import Key
from antiphon.stores.driver import Parameters
from antiphon.stores.query import DatabaseSession, Row, Statement
from antiphon.stores.store import SqlStore
from contract.store_kit import ONE, TWO, run


def _key(name: str, project: str = ONE) -> Key:
    return Key(name, project, "", name.encode().ljust(32), "ab…yz", created_at=5)


def test_restrictions_come_back_as_they_were(url: str) -> None:
    async def test(store: SqlStore) -> None:
        full = replace(
            _key("key_full"),
            scopes=("chat:write", "models:read"),
            models=("gpt-*", 'a "quoted" ñame'),
            addresses=("10.0.0.0/8", "2001:db8::/32"),
            user_id="user_1",
            service_account_id="svc_1",
            replaced_by="key_next",
            last_used_at=7,
        )
        nothing = replace(_key("key_nothing"), scopes=(), models=(), addresses=())
        for key in (full, nothing, _key("key_plain")):
            await store.create_key(key)
            assert await store.find_key(key.digest) == key
            assert await store.get_key(key.id) == key
            caller = await store.find_caller(key.digest)
            assert caller is not None
            assert caller.key == key
            assert not caller.limits
        assert await store.list_keys(ONE) == [full, nothing, _key("key_plain")]

    run(url, test)


def test_a_key_is_replaced_once_and_works_on_for_a_while(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.create_key(_key("key_old"))
        entry = AuditEntry("api_key.updated", CLI, "key_old", ONE)
        assert await store.rotate_key("key_old", _key("key_new"), 100, entry)
        old = await store.get_key("key_old")
        assert old == replace(_key("key_old"), expires_at=100, replaced_by="key_new")
        assert await store.get_key("key_new") == _key("key_new")
        assert not await store.rotate_key("key_old", _key("key_other"), 200, AuditEntry("api_key.updated", CLI, "x"))
        assert await store.get_key("key_other") is None
        assert not await store.rotate_key("key_unknown", _key("key_other"), 200)
        await store.revoke_key("key_new", 10)
        assert not await store.rotate_key("key_new", _key("key_other"), 200), "it was revoked"
        written = await store.list_audit(AuditFilter(), limit=10)
        assert [found.id for found in written.data] == [entry.id], "only what was done is written down"

    run(url, test)


def test_an_overlap_never_makes_a_key_live_longer(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.create_key(replace(_key("key_old"), expires_at=50))
        assert await store.rotate_key("key_old", _key("key_new"), 100)
        old = await store.get_key("key_old")
        assert old is not None
        assert old.expires_at == 50

    run(url, test)


def test_a_replacement_that_cannot_be_changes_nothing(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.create_key(_key("key_old"))
        await store.create_key(_key("key_there"))
        with pytest.raises(Conflict):
            await store.rotate_key("key_old", replace(_key("key_there"), digest=b"x" * 32), 100)
        assert await store.get_key("key_old") == _key("key_old")

    run(url, test)


def test_of_many_replacements_at_once_one_wins(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.create_key(_key("key_old"))
        outcomes = await asyncio.gather(
            *(store.rotate_key("key_old", _key(f"key_{number}"), 100) for number in range(8))
        )
        assert sorted(outcomes) == [False] * 7 + [True]
        assert len(await store.list_keys()) == 2

    run(url, test)


def test_the_last_use_only_moves_forward(url: str) -> None:
    async def test(store: SqlStore) -> None:
        for name in ("key_a", "key_b", "key_c"):
            await store.create_key(_key(name))
        await store.note_uses({})
        await asyncio.gather(store.note_uses({"key_a": 20, "key_b": 30, "key_gone": 1}), store.note_uses({"key_a": 10}))
        await store.note_uses({"key_b": 31})
        assert [key.last_used_at for key in await store.list_keys()] == [20, 31, None]

    run(url, test)


def test_limits_are_set_changed_listed_and_removed(url: str) -> None:
    async def test(store: SqlStore) -> None:
        every = RateLimit("organization", "", "", rpm=1000)
        first = RateLimit("project", ONE, "", rpm=5, tpm=6, rpd=7, tpd=8, concurrent=9)
        model = RateLimit("project", ONE, "gpt-4o", tpm=10**9)
        other = RateLimit("project", TWO, "gpt-4o", tpm=1)
        for limit in (other, model, first, every):
            await store.put_rate_limit(limit)
        assert await store.list_rate_limits() == [every, first, model, other]
        assert await store.list_rate_limits("project") == [first, model, other]
        assert await store.list_rate_limits("project", ONE) == [first, model]
        assert await store.list_rate_limits("project", "a\x00b") == []
        entry = AuditEntry("rate_limit.updated", CLI, "rl-x", ONE)
        await store.put_rate_limit(RateLimit("project", ONE, "", rpm=1), entry)
        await store.put_rate_limit(RateLimit("project", ONE, "gpt-4o"))
        await store.put_rate_limit(RateLimit("project", ONE, "never-there"))
        assert await store.list_rate_limits("project", ONE) == [RateLimit("project", ONE, "", rpm=1)]
        assert [found.id for found in (await store.list_audit(AuditFilter(), limit=10)).data] == [entry.id]
        with pytest.raises(InvalidRequest):
            await store.put_rate_limit(RateLimit("project", "a\x00b", rpm=1))

    run(url, test)


def test_a_caller_comes_under_the_limits_of_everybody_its_project_its_user_and_its_key(url: str) -> None:
    async def test(store: SqlStore) -> None:
        key = replace(_key("key_a"), user_id="user_1")
        await store.create_key(key)
        await store.create_key(_key("key_b", TWO))
        for limit in (
            RateLimit("organization", "", rpm=4),
            RateLimit("project", ONE, rpm=3),
            RateLimit("user", "user_1", rpm=2),
            RateLimit("key", "key_a", rpm=1),
            RateLimit("key", "user_1", rpm=11),
            RateLimit("user", "user_2", rpm=12),
            RateLimit("project", TWO, rpm=13),
        ):
            await store.put_rate_limit(limit)
        mine = await store.find_caller(key.digest)
        theirs = await store.find_caller(_key("key_b").digest)
        assert mine is not None
        assert theirs is not None
        assert sorted(demand.meter.limit for demand in mine.limits.applying("m").requests) == [1, 2, 3, 4]
        assert sorted(demand.meter.limit for demand in theirs.limits.applying("m").requests) == [4, 13]
        found = (await store.limits_of(key)).applying("m").requests
        assert sorted(demand.meter.limit for demand in found) == [1, 2, 3, 4]
        assert await store.find_caller(b"unknown") is None

    run(url, test)


def test_one_subject_has_limits_for_only_so_many_models(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_RATE_LIMITS", 3)

    async def test(store: SqlStore) -> None:
        for number in range(3):
            await store.put_rate_limit(RateLimit("key", "key_a", f"model-{number}", rpm=1))
        with pytest.raises(InvalidRequest, match="at most 3 models"):
            await store.put_rate_limit(RateLimit("key", "key_a", "model-3", rpm=1))
        await store.put_rate_limit(RateLimit("key", "key_a", "model-2", rpm=2))
        await store.put_rate_limit(RateLimit("key", "key_b", "model-3", rpm=1))
        assert [limit.rpm for limit in await store.list_rate_limits("key", "key_a")] == [1, 1, 2]

    run(url, test)


def test_an_unknown_key_costs_as_many_statements_as_a_known_one(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    statements: list[object] = []
    original = DatabaseSession.all

    def counting(self: DatabaseSession, query: Statement, parameters: Parameters) -> list[Row]:
        statements.append(query)
        return original(self, query, parameters)

    async def test(store: SqlStore) -> None:
        await store.create_key(_key("key_a"))
        await store.create_key(replace(_key("key_b"), revoked_at=5))
        monkeypatch.setattr(DatabaseSession, "all", counting)
        asked: list[list[object]] = []
        for digest in (_key("key_a").digest, _key("key_b").digest, b"unknown".ljust(32)):
            statements.clear()
            await store.find_caller(digest)
            asked.append([*statements])
        assert asked[0]
        assert asked[0] == asked[1] == asked[2]

    run(url, test)
