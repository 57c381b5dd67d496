"""Whatever sequence of calls a low role makes: it does not rise, and what it may not touch stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.domain.organisation import Member
from antiphon.engines.scripted import ScriptedEngine
from antiphon.stores.store import SqlStore
from support.admin import admin_client, admin_key
from support.examples import examples
from support.inside import in_store
from support.rawhttp import Wire
from support.serving import Serving, serving

ROOT = "/v1/organization"


@dataclass(frozen=True)
class World:
    """A server with an owner (`boss`), and three of low roles who share the default project."""

    served: Serving
    keys: dict[str, str]
    users: dict[str, str]
    #: Ids by what they stand for in paths and bodies.
    ids: dict[str, str]
    #: Who is in the default project at first.
    members: tuple[Member, ...]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving(ScriptedEngine(), tmp_path_factory.mktemp("roles")) as served:
        boss = admin_key(served)
        keys = {
            "reader": admin_key(served, email="reader@example.com", role="reader"),
            "member": admin_key(served, email="member@example.com", role="reader", place="member"),
            "project owner": admin_key(served, email="powner@example.com", role="reader", place="owner"),
        }
        org = admin_client(served, boss).admin.organization
        users = {user.name or "": user.id for user in org.users.list()}
        mine = next(project for project in org.projects.list() if project.name == "default")
        other = org.projects.create(name="other")
        bot = org.projects.service_accounts.create(other.id, name="bot")
        assert bot.api_key is not None
        ids = {
            "@mine": mine.id,
            "@other": other.id,
            "@bot": bot.id,
            "@botkey": bot.api_key.id,
            "@adminkey": org.admin_api_keys.list(limit=1).data[0].id,
            "@boss": users["Owner"],
            "@reader": users["reader"],
            "@member": users["member"],
            "@powner": users["powner"],
        }
        members = in_store(served, lambda store: members_of(store, mine.id))
        yield World(served, keys, users, ids, members)


_USERS = st.sampled_from(["@boss", "@reader", "@member", "@powner"])
_PROJECTS = st.sampled_from(["@mine", "@other"])
_ROLES = st.sampled_from(["owner", "member", "reader"])


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, str, Any]:
    """A call that changes something, of any endpoint of the organisation's core, on anything."""
    user, project, role = draw(_USERS), draw(_PROJECTS), draw(_ROLES)
    inside = f"/projects/{project}"
    choices: list[tuple[str, str, Any]] = [
        ("POST", "/admin_api_keys", {"name": "mine"}),
        ("DELETE", "/admin_api_keys/@adminkey", None),
        ("POST", f"/users/{user}", {"role": role}),
        ("DELETE", "/users/@boss", None),
        ("POST", "/invites", {"email": "me@example.com", "role": role, "projects": [{"id": project, "role": "owner"}]}),
        ("POST", "/projects", {"name": "another"}),
        ("POST", inside, {"name": "renamed"}),
        ("POST", inside, {"external_key_id": "x"}),
        ("POST", f"{inside}/archive", None),
        ("POST", f"{inside}/users", {"user_id": user, "role": role}),
        ("POST", f"{inside}/users/{user}", {"role": role}),
        ("DELETE", f"{inside}/users/@boss", None),
        ("POST", f"{inside}/service_accounts", {"name": "bot"}),
        ("POST", f"{inside}/service_accounts/@bot", {"role": "owner"}),
        ("DELETE", f"{inside}/service_accounts/@bot", None),
        ("POST", f"{inside}/service_accounts/@bot/api_keys", {"name": "mine"}),
        ("POST", f"{inside}/api_keys/@botkey", {"expires_in_seconds": 1}),
        ("DELETE", f"{inside}/api_keys/@botkey", None),
        ("POST", f"{inside}/rate_limits/rl-scripted", {"max_requests_per_1_minute": 1}),
    ]
    return draw(st.sampled_from(choices))


@given(who=st.sampled_from(["reader", "member", "project owner"]), sequence=st.lists(calls(), min_size=1, max_size=8))
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_sequence_of_calls_raises_a_low_role(world: World, who: str, sequence: list[tuple[str, str, Any]]) -> None:
    restore(world)
    before = rights(world)
    with Wire(world.served.url, {"Authorization": f"Bearer {world.keys[who]}"}) as wire:
        for method, path, body in sequence:
            answer = wire.ask(method, ROOT + filled(path, world), filled(body, world))
            assert answer.status in (200, 400, 403, 404, 409), answer.body
            assert b"sk-antiphon-admin-" not in answer.body
            assert answer.status != 200 or (who == "project owner" and "/projects/@mine" in path)
    after = rights(world)
    for user, (role, places) in before.items():
        now, owned = after[user]
        assert now == role, "a role in the organisation has changed"
        # An owner of the default project may make its members owners; nobody gets into another project.
        assert owned.get(world.ids["@other"]) == places.get(world.ids["@other"])
        if who != "project owner":
            assert owned == places
    assert other_project(world) == ("other", False, 1, 1)


def filled(value: Any, world: World) -> Any:
    """A path or body with the ids put in."""
    if isinstance(value, dict):
        return {name: filled(member, world) for name, member in value.items()}
    if isinstance(value, list):
        return [filled(member, world) for member in value]
    if not isinstance(value, str):
        return value
    for name in sorted(world.ids, key=len, reverse=True):
        value = value.replace(name, world.ids[name])
    return value


def rights(world: World) -> dict[str, tuple[str, dict[str, str]]]:
    """Each user's role in the organisation and in projects."""

    async def work(store: SqlStore) -> dict[str, tuple[str, dict[str, str]]]:
        users = await store.list_users(after=None, limit=100)
        return {user.id: (user.role, await store.member_roles(user.id)) for user in users.data}

    return in_store(world.served, work)


def restore(world: World) -> None:
    """Give each member of the default project the role back that an earlier sequence of its owner has changed."""
    home = world.ids["@mine"]

    async def work(store: SqlStore) -> None:
        for member in world.members:
            if not await store.set_member_role(home, member.user.id, member.role):
                await store.add_member(member)
        there = {member.user.id for member in world.members}
        for member in await members_of(store, home):
            if member.user.id not in there:
                await store.delete_member(home, member.user.id, 0)

    in_store(world.served, work)


async def members_of(store: SqlStore, project_id: str) -> tuple[Member, ...]:
    """A project's members."""
    return tuple((await store.list_members(project_id, after=None, limit=100)).data)


def other_project(world: World) -> tuple[str, bool, int, int]:
    """The project that none of them is in: its name, whether it is archived, its accounts and keys."""

    async def work(store: SqlStore) -> tuple[str, bool, int, int]:
        project_id = world.ids["@other"]
        project = await store.get_project(project_id)
        assert project is not None
        accounts = await store.list_service_accounts(project_id, after=None, limit=10)
        keys = await store.page_of_keys(project_id, after=None, limit=10)
        return project.name, project.archived_at is not None, len(accounts.data), len(keys.data)

    return in_store(world.served, work)
