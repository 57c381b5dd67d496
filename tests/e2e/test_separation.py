"""Staging and production as two projects of one server share nothing: every object × every verb × the other's key.

The requests are made from the resources themselves: one that is new and that nobody has thought of here fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest.mock import Mock

import pytest

from antiphon.engines.scripted import ScriptedEngine
from antiphon.http import admin, chat, context, conversations, prompts, responses
from support.admin import admin_client, admin_key
from support.rawhttp import Answer, Wire
from support.serving import Serving, serving

MODEL = "gpt-5-mini"
#: What is sent to the verbs that need a body.
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/v1/chat/completions/{completion_id}"): {"metadata": {"taken": "over"}},
    ("POST", "/v1/conversations/{conversation_id}"): {"metadata": {"taken": "over"}},
    ("POST", "/v1/conversations/{conversation_id}/items"): {"items": [{"role": "user", "content": "taken over"}]},
    ("POST", "/v1/prompts/{prompt_id}"): {"name": "taken over"},
    ("POST", "/v1/prompts/{prompt_id}/versions"): {"instructions": "taken over"},
    ("POST", "/v1/organization/projects/{project_id}/users/{user_id}"): {"role": "owner"},
    ("POST", "/v1/organization/projects/{project_id}/service_accounts/{service_account_id}"): {"role": "owner"},
    ("POST", "/v1/organization/projects/{project_id}/service_accounts/{service_account_id}/api_keys"): {},
    ("POST", "/v1/organization/projects/{project_id}/api_keys/{api_key_id}"): {"expires_in_seconds": 60},
}


def asks(resources: list[Any], *, admin: bool) -> list[tuple[str, str]]:
    """Every verb of every path that names an object (of a project)."""
    named = r"/projects/\{project_id\}/.*\{" if admin else r"\{"
    return [
        (method, resource.path)
        for resource in resources
        for method in resource.methods
        if re.search(named, resource.path)
    ]


nothing = Mock()
OBJECTS = asks(
    [found for module in (responses, context, conversations, prompts, chat) for found in module.resources(nothing)],
    admin=False,
)
ADMINISTERED = asks(admin.resources(nothing, nothing, b""), admin=True)


@dataclass(frozen=True)
class Environment:
    """A project, a key of it, and what was stored with that, by the names of paths' parameters."""

    project: str
    key: str
    objects: dict[str, str]


@dataclass(frozen=True)
class World:
    served: Serving
    admin: str
    staging: Environment
    production: Environment


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(ScriptedEngine(), tmp_path_factory.mktemp("separation")) as server:
        yield server


@pytest.fixture
def world(served: Serving) -> World:
    key = admin_key(served)
    org = admin_client(served, key).admin.organization
    number = len(org.projects.list(limit=100).data)
    owner = org.users.list().data[0]

    def environment(name: str) -> Environment:
        project = org.projects.create(name=f"{name} {number}")
        bot = org.projects.service_accounts.create(project.id, name=name)
        assert bot.api_key is not None
        with Wire(served.url, {"Authorization": f"Bearer {bot.api_key.value}"}) as wire:
            stored = store(wire)
        administered = {"service_account_id": bot.id, "api_key_id": bot.api_key.id, "user_id": owner.id}
        return Environment(project.id, bot.api_key.value, {**stored, **administered})

    staging, production = environment("staging"), environment("production")
    # One user may be in both; here only in staging.
    org.projects.users.create(staging.project, user_id=owner.id, role="member")
    return World(served, key, staging, production)


def store(wire: Wire) -> dict[str, str]:
    """Make one of everything."""

    def made(path: str, body: Any) -> Any:
        answer = wire.ask("POST", path, body)
        assert answer.status == 200, answer.body
        return answer.json()

    messages = [{"role": "user", "content": "hello"}]
    conversation = made("/v1/conversations", {"items": messages})["id"]
    return {
        "response_id": made("/v1/responses", {"model": MODEL, "input": "hello", "background": True})["id"],
        "completion_id": made("/v1/chat/completions", {"model": MODEL, "messages": messages, "store": True})["id"],
        "conversation_id": conversation,
        "item_id": wire.ask("GET", f"/v1/conversations/{conversation}/items").json()["data"][0]["id"],
        "prompt_id": made("/v1/prompts", {"name": "p", "instructions": "x"})["id"],
    }


def face(answer: Answer, ids: list[str]) -> tuple[int, bytes]:
    """All that can be told from an answer, but for the ids that were asked for."""
    body = answer.body
    for each in sorted(ids, key=len, reverse=True):
        body = body.replace(each.encode(), b"<id>")
    return answer.status, body


def never(real: str) -> str:
    """An id of the same form that never existed."""
    return real.translate(str.maketrans("0123456789", "1111111111"))


def filled(path: str, ids: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: "1" if match[1] == "version" else ids[match[1]], path)


@pytest.mark.parametrize(("method", "path"), OBJECTS, ids=lambda value: value)
def test_the_others_objects_never_existed(world: World, method: str, path: str) -> None:
    theirs = world.production.objects
    body = BODIES.get((method, path))
    gone = {name: never(value) for name, value in theirs.items()}
    assert not set(gone.values()) & set(theirs.values())
    with Wire(world.served.url, {"Authorization": f"Bearer {world.staging.key}"}) as wire:
        answer = wire.ask(method, filled(path, theirs), body)
        assert answer.status == 404
        unknown = wire.ask(method, filled(path, gone), body)
    assert face(answer, [*theirs.values()]) == face(unknown, [*gone.values()])
    with Wire(world.served.url, {"Authorization": f"Bearer {world.production.key}"}) as wire:
        own = wire.ask(method, filled(path, theirs), body)
    assert own.status != 404, "not even its owner is answered, so this test shows nothing"
    assert own.status < 500


@pytest.mark.parametrize(("method", "path"), ADMINISTERED, ids=lambda value: value)
def test_one_projects_objects_are_not_found_in_another(world: World, method: str, path: str) -> None:
    theirs = {**world.staging.objects, "project_id": world.production.project}
    gone = {name: value if name == "project_id" else never(value) for name, value in theirs.items()}
    body = BODIES.get((method, path))
    with Wire(world.served.url, {"Authorization": f"Bearer {world.admin}"}) as wire:
        answer = wire.ask(method, filled(path, theirs), body)
        assert answer.status == 404
        unknown = wire.ask(method, filled(path, gone), body)
        assert face(answer, [*theirs.values()]) == face(unknown, [*gone.values()])
        own = wire.ask(method, filled(path, {**theirs, "project_id": world.staging.project}), body)
        assert own.status == 200, "not even in its own project is it found, so this test shows nothing"


def test_lists_show_ones_own_only(world: World) -> None:
    with (
        Wire(world.served.url, {"Authorization": f"Bearer {world.staging.key}"}) as staging,
        Wire(world.served.url, {"Authorization": f"Bearer {world.production.key}"}) as production,
    ):
        for path, kind in (("/v1/prompts", "prompt_id"), ("/v1/chat/completions", "completion_id")):
            shown = [{entry["id"] for entry in wire.ask("GET", path).json()["data"]} for wire in (staging, production)]
            assert shown == [{world.staging.objects[kind]}, {world.production.objects[kind]}]
