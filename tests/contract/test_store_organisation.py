"""Users, members, service accounts, invites, admin keys and projects, on both databases."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from antiphon.domain.errors import Conflict, NotFound
from antiphon.domain.organisation import CLI, AuditEntry, AuditFilter, Invite, Member, ServiceAccount, User
from antiphon.domain.tenancy import AdminKey, Key, Project
from antiphon.stores.store import SqlStore
from contract.store_kit import ONE, TWO, ids, run

ANNA = User("user_anna", "Anna", "anna@example.com", "owner", 1)
BEN = User("user_ben", "Bén", "ben@example.com", "reader", 2)


def told(resource: str) -> list[AuditEntry]:
    return [AuditEntry("user.updated", CLI, resource)]


def key(name: str, project: str = ONE, **owner: str) -> Key:
    return replace(Key(name, project, name, name.encode().ljust(32), "…", 5), **owner)  # type: ignore[arg-type]


def admin_key(name: str, user: str | None = ANNA.id, **fields: int) -> AdminKey:
    made = AdminKey(name, name, name.encode().ljust(32), "…", "owner", 5, user_id=user)
    return replace(made, **fields)  # type: ignore[arg-type]


async def logged(store: SqlStore) -> list[str]:
    return [entry.resource_id for entry in (await store.list_audit(AuditFilter(), limit=100)).data]


def test_users_come_back_and_emails_are_theirs_alone(url: str) -> None:
    async def test(store: SqlStore) -> None:
        assert await store.first_user() is None
        for user in (ANNA, BEN):
            await store.add_user(user, told(user.id))
        with pytest.raises(Conflict, match="ben@example"):
            await store.add_user(replace(BEN, id="user_other"), told("user_other"))
        assert await store.first_user() == ANNA
        assert await store.get_user(BEN.id) == BEN
        assert await store.find_user("ben@example.com") == BEN
        assert await store.get_user("a\x00") is None
        assert await ids(store.list_users(after=None, limit=1)) == ([ANNA.id], True)
        assert await ids(store.list_users(after=ANNA.id, limit=5)) == ([BEN.id], False)
        assert await ids(store.list_users(after=None, limit=5, ascending=False)) == ([BEN.id, ANNA.id], False)
        assert await ids(store.list_users(["ben@example.com", "\x00"], after=None, limit=5)) == ([BEN.id], False)
        assert await ids(store.list_users(["\x00"], after=None, limit=5)) == ([], False)
        for after in ("user_nobody", "\x00"):
            with pytest.raises(NotFound):
                await store.list_users(after=after, limit=5)
        assert await logged(store) == [BEN.id, ANNA.id]

    run(url, test)


def test_the_last_owner_stays_one(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.add_user(ANNA)
        await store.add_user(BEN)
        for attempt in (store.update_user(replace(ANNA, role="reader"), told("x")), store.delete_user(ANNA.id, 9)):
            with pytest.raises(Conflict) as refused:
                await attempt
            assert refused.value.code == "last_owner"
        assert await store.get_user(ANNA.id) == ANNA
        assert await logged(store) == []
        new = replace(BEN, role="owner", technical_level="high", developer_persona="x")
        assert await store.update_user(new, told(BEN.id))
        assert await store.get_user(BEN.id) == new
        outcomes = await asyncio.gather(
            *(store.update_user(replace(user, role="reader")) for user in (ANNA, new)), return_exceptions=True
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "bool"]
        assert not await store.update_user(replace(BEN, id="user_nobody"))
        assert not await store.delete_user("user_nobody", 9)

    run(url, test)


def test_two_servers_cannot_take_the_last_two_owners(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.add_user(ANNA)
        await store.add_user(replace(BEN, role="owner"))
        other = SqlStore(url, backups=None)
        await other.open()
        try:
            outcomes = await asyncio.gather(
                store.delete_user(ANNA.id, 9), other.delete_user(BEN.id, 9), return_exceptions=True
            )
        finally:
            await other.close()
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "bool"]

    run(url, test)


def test_who_is_deleted_takes_places_and_keys_along(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.add_user(ANNA)
        await store.add_user(BEN)
        await store.add_member(Member(ONE, BEN, "owner", 3))
        await store.add_key(key("key_ben", user_id=BEN.id))
        await store.add_key(key("key_anna", user_id=ANNA.id))
        await store.create_admin_key(admin_key("adm_ben", BEN.id))
        assert await store.delete_user(BEN.id, 9, told(BEN.id))
        assert await store.get_user(BEN.id) is None
        assert await store.get_member(ONE, BEN.id) is None
        assert await store.get_project_key(ONE, "key_ben") is None
        assert await store.get_project_key(ONE, "key_anna") is not None
        found = await store.get_admin_key("adm_ben")
        assert found is not None
        assert found.revoked_at == 9

    run(url, test)


def test_members(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.add_user(ANNA)
        await store.add_user(BEN)
        places = [Member(ONE, BEN, "owner", 3), Member(ONE, ANNA, "member", 4), Member(TWO, BEN, "member", 5)]
        for place in places:
            await store.add_member(place)
        with pytest.raises(Conflict):
            await store.add_member(places[0])
        assert await store.get_member(ONE, BEN.id) == places[0]
        assert await store.get_member(TWO, ANNA.id) is None
        assert await store.member_roles(BEN.id) == {ONE: "owner", TWO: "member"}
        page = await store.list_members(ONE, after=None, limit=1)
        assert (page.data, page.has_more) == ([places[0]], True)
        page = await store.list_members(ONE, after=BEN.id, limit=5)
        assert (page.data, page.has_more) == ([places[1]], False)
        with pytest.raises(NotFound):
            await store.list_members(TWO, after=ANNA.id, limit=5)
        assert await store.set_member_role(ONE, BEN.id, "member", told("role"))
        assert not await store.set_member_role(TWO, ANNA.id, "owner", told("nobody"))
        for name, project in (("key_1", ONE), ("key_2", TWO)):
            await store.add_key(key(name, project, user_id=BEN.id))
        assert await store.delete_member(ONE, BEN.id, 9, told("gone"))
        assert not await store.delete_member(ONE, BEN.id, 9, told("nobody"))
        assert await store.get_project_key(ONE, "key_1") is None
        assert await store.get_project_key(TWO, "key_2") is not None
        assert await logged(store) == ["gone", "role"]

    run(url, test)


def test_service_accounts(url: str) -> None:
    async def test(store: SqlStore) -> None:
        bot = ServiceAccount("svc_1", ONE, "bot", "member", 3)
        await store.add_service_account(bot, key("key_1", service_account_id="svc_1"), told("svc_1"))
        await store.add_service_account(ServiceAccount("svc_2", ONE, "alone", "none", 3), None)
        await store.add_service_account(ServiceAccount("svc_3", TWO, "bot", "member", 3), None)
        assert await store.get_service_account(ONE, "svc_1") == bot
        assert await store.get_service_account(TWO, "svc_1") is None
        assert await ids(store.list_service_accounts(ONE, after=None, limit=1)) == (["svc_1"], True)
        assert await ids(store.list_service_accounts(ONE, after="svc_1", limit=5)) == (["svc_2"], False)
        with pytest.raises(NotFound):
            await store.list_service_accounts(ONE, after="svc_3", limit=5)
        new = replace(bot, name="robot", role="owner")
        assert await store.update_service_account(new)
        assert not await store.update_service_account(replace(new, project_id=TWO))
        assert await store.get_service_account(ONE, "svc_1") == new
        assert not await store.delete_service_account(TWO, "svc_1", 9)
        assert await store.get_project_key(ONE, "key_1") is not None
        assert await store.delete_service_account(ONE, "svc_1", 9)
        assert await store.get_project_key(ONE, "key_1") is None

    run(url, test)


def test_invites(url: str) -> None:
    async def test(store: SqlStore) -> None:
        invite = Invite("inv_1", "cleo@example.com", "reader", ((ONE, "owner"), (TWO, "member")), 1, 9)
        later = replace(invite, id="inv_2", projects=())
        await store.add_invite(invite, told("inv_1"))
        await store.add_invite(later)
        assert await store.get_invite("inv_1") == invite
        assert await store.find_invites("cleo@example.com") == [later, invite]
        assert await ids(store.list_invites(after=None, limit=5)) == (["inv_1", "inv_2"], False)
        cleo = User("user_cleo", "Cleo", "cleo@example.com", "reader", 3)
        places = [Member(project, cleo, role, 3) for project, role in invite.projects]
        assert await store.accept_invite("inv_1", cleo, places, 3, told("accepted"))
        assert not await store.accept_invite("inv_1", replace(cleo, id="user_2", email="x@y"), [], 4, told("twice"))
        assert await store.member_roles(cleo.id) == {ONE: "owner", TWO: "member"}
        assert await store.get_invite("inv_1") == replace(invite, accepted_at=3)
        # Whoever is a user by now cannot become one again, and the invite is as it was.
        with pytest.raises(Conflict):
            await store.accept_invite("inv_2", replace(cleo, id="user_2"), [], 4, told("again"))
        assert await store.get_invite("inv_2") == later
        assert not await store.delete_invite("inv_1", told("accepted already"))
        assert await store.delete_invite("inv_2", told("deleted"))
        assert await store.get_invite("inv_2") is None
        assert await logged(store) == ["deleted", "accepted", "inv_1"]

    run(url, test)


def test_admin_keys_and_who_they_are(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.add_user(ANNA)
        await store.add_user(BEN)
        await store.add_member(Member(TWO, ANNA, "owner", 3))
        mine, own, bens = admin_key("adm_1"), admin_key("adm_2", None), admin_key("adm_3", BEN.id, expires_at=50)
        for each in (mine, own, bens):
            await store.create_admin_key(each)
        who = await store.find_administrator(mine.digest)
        assert who is not None
        assert (who.key, who.user, who.projects) == (mine, ANNA, {TWO: "owner"})
        nobody = await store.find_administrator(own.digest)
        assert nobody is not None
        assert (nobody.user, nobody.projects) == (None, {})
        assert await store.find_administrator(b"\x00" * 32) is None
        await store.admin_key_used("adm_1", 77)
        assert await store.find_admin_key(mine.digest) == replace(mine, last_used_at=77)
        assert await ids(store.list_admin_keys(after=None, limit=2)) == (["adm_1", "adm_2"], True)
        assert await ids(store.list_admin_keys(after=None, limit=9, ascending=False)) == (
            ["adm_3", "adm_2", "adm_1"],
            False,
        )
        assert await store.revoke_admin_key("adm_2", 9, told("adm_2"))
        assert not await store.revoke_admin_key("adm_2", 10, told("twice"))
        assert await ids(store.list_admin_keys(after=None, limit=9)) == (["adm_1", "adm_3"], False)
        assert (await ids(store.list_admin_keys(after=None, limit=9, revoked=True)))[0] == ["adm_1", "adm_2", "adm_3"]
        assert await logged(store) == ["adm_2"]

    run(url, test)


def test_the_last_admin_key_is_kept_for_who_asks_so(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.add_user(ANNA)
        for each in (admin_key("adm_1"), admin_key("adm_2"), admin_key("adm_3", expires_at=8)):
            await store.create_admin_key(each)
        assert await store.revoke_admin_key("adm_1", 9, keeps=ANNA.id)
        with pytest.raises(Conflict) as refused:
            await store.revoke_admin_key("adm_2", 9, told("x"), keeps=ANNA.id)
        assert refused.value.code == "last_admin_key"
        assert await logged(store) == []
        assert await store.revoke_admin_key("adm_2", 9)

    run(url, test)


def test_projects_are_renamed_and_archived(url: str) -> None:
    async def test(store: SqlStore) -> None:
        await store.add_project(Project("proj_3", "three", 3), told("proj_3"))
        with pytest.raises(Conflict, match="'three' exists already"):
            await store.add_project(Project("proj_4", "three", 3), told("proj_4"))
        with pytest.raises(Conflict, match="'one' exists already"):
            await store.rename_project("proj_3", "one", told("renamed"))
        assert await store.rename_project("proj_3", "drei", told("renamed"))
        assert not await store.rename_project("proj_9", "neun", told("nobody"))
        assert await store.archive_project("proj_3", 7, told("archived"))
        assert await store.archive_project("proj_3", 8)
        assert await store.get_project("proj_3") == Project("proj_3", "drei", 3, None, 7)
        assert await ids(store.page_of_projects(after=None, limit=9, archived=False)) == ([ONE, TWO], False)
        assert await ids(store.page_of_projects(after=None, limit=2, archived=True)) == ([ONE, TWO], True)
        assert await ids(store.page_of_projects(after=TWO, limit=2, archived=True)) == (["proj_3"], False)
        assert await logged(store) == ["archived", "renamed", "proj_3"]

    run(url, test)


def test_keys_as_administrators_see_them(url: str) -> None:
    async def test(store: SqlStore) -> None:
        mine, theirs = key("key_1"), key("key_2", TWO)
        await store.add_key(mine, told("key_1"))
        await store.add_key(theirs)
        assert await store.get_project_key(ONE, "key_1") == mine
        assert await store.get_project_key(ONE, "key_2") is None
        assert await ids(store.page_of_keys(ONE, after=None, limit=5)) == (["key_1"], False)
        with pytest.raises(NotFound):
            await store.page_of_keys(ONE, after="key_2", limit=5)
        new = replace(mine, expires_at=99, scopes=("chat:write",))
        assert await store.update_project_key(new, told("updated"))
        assert await store.get_project_key(ONE, "key_1") == new
        assert not await store.update_project_key(replace(theirs, project_id=ONE), told("nobody"))
        assert not await store.revoke_project_key(TWO, "key_1", 9, told("nobody"))
        assert await store.revoke_project_key(ONE, "key_1", 9, told("revoked"))
        assert not await store.revoke_project_key(ONE, "key_1", 9, told("twice"))
        assert await store.get_project_key(ONE, "key_1") is None
        assert await ids(store.page_of_keys(ONE, after=None, limit=5)) == ([], False)
        assert await logged(store) == ["revoked", "updated", "key_1"]

    run(url, test)
