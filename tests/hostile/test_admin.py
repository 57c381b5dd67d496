"""The administration with what nobody should send: always a clear refusal, never a 500."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.engines.scripted import ScriptedEngine
from conformance import spec
from support.admin import admin_client, admin_key
from support.examples import examples
from support.rawhttp import Wire
from support.serving import serving

ROOT = "/v1/organization"
MEMBERS = ["name", "email", "role", "role_id", "user_id", "projects", "expires_in_seconds", "scopes", "residency", "x"]
NASTY = [
    "\x00",
    "\ud800",
    "' OR 1=1 --",
    "x" * 5000,
    "٣",
    "\u202e",
    "",
    "proj_' ; DROP TABLE users",
    "%00",
    "..",
    "ä" * 400,
]

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.sampled_from([*NASTY, "owner", "reader", "member", "a@b.example", "none"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "role", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Wire, list[str]]]:
    with serving(ScriptedEngine(), tmp_path_factory.mktemp("hostile")) as served:
        key = admin_key(served)
        org = admin_client(served, key).admin.organization
        project = org.projects.create(name="target").id
        user = org.users.list().data[0].id
        bot = org.projects.service_accounts.create(project, name="bot")
        inside = f"{ROOT}/projects/{project}"
        with Wire(served.url, {"Authorization": f"Bearer {key}"}) as wire:
            yield (
                wire,
                [
                    f"{ROOT}/admin_api_keys",
                    f"{ROOT}/invites",
                    f"{ROOT}/users/{user}",
                    f"{ROOT}/projects",
                    inside,
                    f"{inside}/users",
                    f"{inside}/users/{user}",
                    f"{inside}/service_accounts",
                    f"{inside}/service_accounts/{bot.id}",
                    f"{inside}/service_accounts/{bot.id}/api_keys",
                    f"{inside}/api_keys/{bot.api_key.id if bot.api_key else ''}",
                ],
            )


def judge(answer: Any) -> None:
    assert answer.status in (200, 400, 401, 403, 404, 405, 409), (answer.status, answer.body)
    if answer.status != 200:
        spec.check_error(answer.json())


@settings(max_examples=examples(300), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.integers(0, 10), body=st.dictionaries(st.sampled_from(MEMBERS), values, max_size=4) | values)
def test_bodies(paths: tuple[Wire, list[str]], number: int, body: Any) -> None:
    wire, places = paths
    sent = json.dumps(body).encode()
    judge(wire.ask("POST", places[number], sent))


@pytest.mark.parametrize("nasty", [quote(text.encode("utf-8", "surrogatepass")) or "%20" for text in NASTY])
def test_paths_and_queries(paths: tuple[Wire, list[str]], nasty: str) -> None:
    wire, places = paths
    inside = places[4]
    for path in (
        f"{ROOT}/users/{nasty}",
        f"{ROOT}/invites/{nasty}",
        f"{ROOT}/admin_api_keys/{nasty}",
        f"{ROOT}/projects/{nasty}",
        f"{ROOT}/projects/{nasty}/users",
        f"{ROOT}/projects/{nasty}/service_accounts",
        f"{inside}/users/{nasty}",
        f"{inside}/service_accounts/{nasty}",
        f"{inside}/api_keys/{nasty}",
    ):
        for method in ("GET", "POST", "DELETE"):
            answer = wire.ask(method, path, {"role": "owner"} if method == "POST" else None)
            judge(answer)
            assert answer.status != 200
    for query in (
        f"users?emails[]={nasty}",
        f"users?after={nasty}",
        f"projects?limit={nasty}",
        f"projects?include_archived={nasty}",
        f"audit_logs?after={nasty}",
        f"audit_logs?before={nasty}",
        f"audit_logs?effective_at[gte]={nasty}",
        f"audit_logs?effective_at[{nasty}]=1",
        f"audit_logs?{'&'.join(f'{name}[]={nasty}' for name in ('project_ids', 'actor_ids', 'resource_ids'))}",
        f"audit_logs?actor_emails[]={nasty}&event_types[]={nasty}",
        "audit_logs?effective_at[gte]=99999999999999999999",
    ):
        judge(wire.ask("GET", f"{ROOT}/{query}"))
