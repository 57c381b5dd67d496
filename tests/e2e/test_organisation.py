"""The administration with the official SDK: every endpoint of the organisation's core, and what it refuses."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from antiphon.engines.scripted import ScriptedEngine
from conformance import spec
from support.admin import admin_client, admin_key
from support.gate import until
from support.inside import in_store
from support.rawhttp import Wire
from support.serving import Serving, serving

ROOT = "/v1/organization"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(ScriptedEngine(), tmp_path_factory.mktemp("organisation")) as server:
        yield server


@pytest.fixture(scope="module")
def key(served: Serving) -> str:
    return admin_key(served)


@pytest.fixture
def org(served: Serving, key: str) -> Any:
    return admin_client(served, key).admin.organization


@pytest.fixture
def wire(served: Serving, key: str) -> Iterator[Wire]:
    with Wire(served.url, {"Authorization": f"Bearer {key}"}) as wire:
        yield wire


@pytest.fixture
def project(org: Any) -> Any:
    return org.projects.create(name=f"project {time.monotonic_ns()}")


@pytest.fixture
def user(served: Serving, org: Any) -> Any:
    email = f"user{time.monotonic_ns()}@example.com"
    admin_key(served, email=email, role="reader")
    return org.users.list(emails=[email.upper()]).data[0]


def refused(status: int, code: str | None = None, param: str | None = None) -> Any:
    """The block must be refused so."""

    class Expect:
        def __enter__(self) -> None:
            pass

        def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
            assert isinstance(error, openai.APIStatusError), error
            assert (error.status_code, error.code, error.param) == (status, code, param), error
            return True

    return Expect()


def test_every_object_is_as_published(wire: Wire, org: Any, project: Any, user: Any) -> None:
    def check(schema: str, method: str, path: str, body: Any = None) -> Any:
        answer = wire.ask(method, ROOT + path, body)
        assert answer.status == 200, answer.body
        spec.check("openai", schema, answer.json())
        return answer.json()

    def check_page(schema: str, path: str) -> None:
        answer = wire.ask("GET", ROOT + path)
        assert answer.json()["data"], f"{path}: nothing there, so this shows nothing"
        spec.check_list(answer.json(), schema)

    made = check("AdminApiKeyCreateResponse", "POST", "/admin_api_keys", {"name": "a", "expires_in_seconds": 9})
    check("AdminApiKey", "GET", f"/admin_api_keys/{made['id']}")
    check_page("AdminApiKey", "/admin_api_keys?order=desc&limit=1")
    invite = check("Invite", "POST", "/invites", {"email": "i@example.com", "role": "owner", "projects": []})
    check("Invite", "GET", f"/invites/{invite['id']}")
    check_page("Invite", "/invites")
    check("InviteDeleteResponse", "DELETE", f"/invites/{invite['id']}")
    check("User", "GET", f"/users/{user.id}")
    check("User", "POST", f"/users/{user.id}", {"role": "owner", "technical_level": "high"})
    check_page("User", "/users")
    path = f"/projects/{project.id}"
    check("Project", "GET", path)
    check("Project", "POST", path, {"name": f"{project.name}!"})
    check_page("Project", "/projects")
    check("ProjectUser", "POST", f"{path}/users", {"email": user.email, "role": "member"})
    check("ProjectUser", "GET", f"{path}/users/{user.id}")
    check("ProjectUser", "POST", f"{path}/users/{user.id}", {"role": "owner"})
    check_page("ProjectUser", f"{path}/users")
    bot = check("ProjectServiceAccountCreateResponse", "POST", f"{path}/service_accounts", {"name": "bot"})
    check("ProjectServiceAccount", "GET", f"{path}/service_accounts/{bot['id']}")
    check("ProjectServiceAccount", "POST", f"{path}/service_accounts/{bot['id']}", {"role": "owner", "name": "b"})
    check_page("ProjectServiceAccount", f"{path}/service_accounts")
    check("ServiceAccountApiKeyBody", "POST", f"{path}/service_accounts/{bot['id']}/api_keys", {"name": "k"})
    check_page("ProjectApiKey", f"{path}/api_keys")
    key_id = bot["api_key"]["id"]
    check("ProjectApiKey", "GET", f"{path}/api_keys/{key_id}")
    check("ProjectApiKey", "POST", f"{path}/api_keys/{key_id}", {"expires_in_seconds": 99, "scopes": ["api.all.read"]})
    check("ProjectApiKeyDeleteResponse", "DELETE", f"{path}/api_keys/{key_id}")
    check("ProjectServiceAccountDeleteResponse", "DELETE", f"{path}/service_accounts/{bot['id']}")
    check("ProjectUserDeleteResponse", "DELETE", f"{path}/users/{user.id}")
    check("UserDeleteResponse", "DELETE", f"/users/{user.id}")
    check("Project", "POST", f"{path}/archive")
    assert check("Project", "GET", path)["status"] == "archived"
    check_page("AuditLog", "/audit_logs?limit=100")
    assert org.admin_api_keys.delete(made["id"]).deleted


def test_lists_go_page_by_page(org: Any, project: Any) -> None:
    names = [org.projects.service_accounts.create(project.id, name=f"bot {n}").name for n in range(5)]
    assert [found.name for found in org.projects.service_accounts.list(project.id, limit=2)] == names
    assert [found.name for found in org.projects.api_keys.list(project.id, limit=2)] == names
    assert org.projects.api_keys.list(project.id, owner_project_access="active").data
    assert org.projects.api_keys.list(project.id, owner_project_access="inactive").data == []
    with refused(404, None, "after"):
        org.projects.service_accounts.list(project.id, after="svc_acct_unknown")
    with refused(400, "integer_above_max_value", "limit"):
        org.projects.list(limit=101)


def test_a_service_accounts_key_opens_its_project_and_ends_with_it(served: Serving, org: Any, project: Any) -> None:
    bot = org.projects.service_accounts.create(project.id, name="bot", expires_in_seconds=3600)
    client = OpenAI(base_url=served.base_url, api_key=bot.api_key.value, max_retries=0)
    assert client.models.list().data
    (found,) = org.projects.api_keys.list(project.id).data
    assert found.id == bot.api_key.id
    assert found.owner.service_account.id == bot.id
    assert found.expires_at == bot.api_key.expires_at
    assert found.redacted_value.endswith(bot.api_key.value[-4:])
    assert bot.api_key.value not in found.to_json()
    second = org.projects.service_accounts.api_keys.create(bot.id, project_id=project.id, scopes=["models:read"])
    other = OpenAI(base_url=served.base_url, api_key=second.value, max_retries=0)
    assert other.models.list().data
    with pytest.raises(openai.PermissionDeniedError):
        other.responses.create(model="gpt-5-mini", input="hello")
    org.projects.service_accounts.delete(bot.id, project_id=project.id)
    fresh = OpenAI(base_url=served.base_url, api_key=second.value, max_retries=0)
    until_refused(fresh, "invalid_api_key")


def until_refused(client: OpenAI, code: str) -> None:
    """Keys are remembered for two seconds."""
    gone: list[str | None] = []

    def asked() -> bool:
        with contextlib.suppress(openai.AuthenticationError):
            client.models.list()
            return False
        with pytest.raises(openai.AuthenticationError) as refused:
            client.models.list()
        gone.append(refused.value.code)
        return True

    until(asked, "the key is refused")
    assert gone == [code]


def test_an_archived_projects_keys_stop_and_it_takes_no_changes(served: Serving, org: Any, project: Any) -> None:
    bot = org.projects.service_accounts.create(project.id, name="bot")
    client = OpenAI(base_url=served.base_url, api_key=bot.api_key.value, max_retries=0)
    stored = client.responses.create(model="gpt-5-mini", input="hello")
    first = org.projects.archive(project.id)
    until_refused(client, "project_archived")
    assert org.projects.archive(project.id).archived_at == first.archived_at
    gone = (400, "project_archived", "project_id")
    for change in (
        lambda: org.projects.update(project.id, name="other"),
        lambda: org.projects.service_accounts.create(project.id, name="bot"),
        lambda: org.projects.service_accounts.list(project.id),
        lambda: org.projects.users.list(project.id),
        lambda: org.projects.users.create(project.id, user_id="user_x", role="owner"),
        lambda: org.projects.api_keys.update(bot.api_key.id, project_id=project.id, expires_in_seconds=5),
    ):
        with refused(*gone):
            change()
    assert project.id not in [found.id for found in org.projects.list(limit=100)]
    assert project.id in [found.id for found in org.projects.list(limit=100, include_archived=True)]
    kept = in_store(served, lambda store: store.get_response(project.id, stored.id))
    assert kept is not None, "what it had stored is gone"


def test_the_default_project_stays(org: Any) -> None:
    default = next(found for found in org.projects.list() if found.name == "default")
    for change in (lambda: org.projects.archive(default.id), lambda: org.projects.update(default.id, name="x")):
        with refused(400, "default_project", "project_id"):
            change()


def test_the_last_owner_and_ones_last_key_stay(org: Any, served: Serving) -> None:
    owner = next(user for user in org.users.list() if user.is_default)
    with refused(409, "last_owner"):
        org.users.update(owner.id, role="reader")
    with refused(409, "last_owner"):
        org.users.delete(owner.id)
    secret = admin_key(served, email="second@example.com", role="owner")
    second = admin_client(served, secret).admin.organization
    (mine,) = [key for key in second.admin_api_keys.list(limit=100) if key.owner.name == "second"]
    with refused(409, "last_admin_key"):
        second.admin_api_keys.delete(mine.id)
    another = second.admin_api_keys.create(name="another")
    assert second.admin_api_keys.delete(mine.id).deleted
    with refused(401, "invalid_api_key"):
        second.users.list()
    third = admin_client(served, another.value).admin.organization
    assert third.users.delete(another.owner.id).deleted
    with refused(401, "invalid_api_key"):
        third.users.list()


def test_a_demoted_owners_key_only_looks(org: Any, served: Serving) -> None:
    secret = admin_key(served, email="demoted@example.com", role="owner")
    low = admin_client(served, secret).admin.organization
    low.projects.create(name="made as an owner")
    user = org.users.list(emails=["demoted@example.com"]).data[0]
    org.users.update(user.id, role="reader")
    assert low.projects.list().data
    with refused(403, "permission_denied"):
        low.projects.create(name="made as a reader")
    with refused(403, "permission_denied"):
        low.users.update(user.id, role="owner")
    with refused(403, "permission_denied"):
        low.admin_api_keys.create(name="x")
    with refused(403, "permission_denied"):
        low.audit_logs.list()


def test_invites(org: Any, project: Any) -> None:
    invite = org.invites.create(
        email="Invited@Example.com", role="reader", projects=[{"id": project.id, "role": "owner"}]
    )
    assert (invite.email, invite.status) == ("invited@example.com", "pending")
    assert invite.expires_at is not None
    with refused(409, "conflict", "email"):
        org.invites.create(email="invited@example.com", role="reader")
    with refused(409, "conflict", "email"):
        org.invites.create(email="owner@localhost", role="reader")
    with refused(400, "invalid_value", "projects[0].id"):
        org.invites.create(email="x@example.com", role="reader", projects=[{"id": "proj_x", "role": "owner"}])
    assert org.invites.delete(invite.id).deleted
    with refused(404, "invite_not_found", "invite_id"):
        org.invites.retrieve(invite.id)


@pytest.mark.parametrize(
    ("path", "body", "code", "param"),
    [
        ("/projects", {"name": " "}, "invalid_value", "name"),
        ("/projects", {"name": "a\u0000b"}, "invalid_value", "name"),
        ("/projects", {}, "missing_required_parameter", "name"),
        ("/projects", {"name": "x", "color": 1}, "unknown_parameter", "color"),
        ("/projects", {"name": "x", "geography": "EU"}, "unsupported_parameter", "geography"),
        ("/invites", {"email": "nobody", "role": "reader"}, "invalid_value", "email"),
        ("/invites", {"email": "a@b", "role": "root"}, "invalid_value", "role"),
        ("/admin_api_keys", {"name": "x" * 999}, "invalid_value", "name"),
        ("/admin_api_keys", {"name": "x", "expires_in_seconds": 0}, "integer_below_min_value", "expires_in_seconds"),
        ("/users/@user", {"role": "root"}, "invalid_value", "role"),
        ("/users/@user", {"role_id": "role_1"}, "unsupported_parameter", "role_id"),
        ("/projects/@project/users", {"role": "member"}, "missing_required_parameter", "user_id"),
        ("/projects/@project/users", {"role": "none", "user_id": "@user"}, "invalid_value", "role"),
        ("/projects/@project/service_accounts", {"name": 5}, "invalid_type", "name"),
        ("/projects/@project", {}, "missing_required_parameter", "name"),
    ],
)
def test_bad_bodies(
    wire: Wire, project: Any, user: Any, path: str, body: dict[str, Any], code: str, param: str
) -> None:
    body = {name: user.id if value == "@user" else value for name, value in body.items()}
    answer = wire.ask("POST", ROOT + path.replace("@project", project.id).replace("@user", user.id), body)
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, code, param)
    spec.check_error(answer.json())


def test_names_are_taken_once(org: Any, project: Any) -> None:
    with refused(409, "conflict", "name"):
        org.projects.create(name=project.name)
    other = org.projects.create(name=f"{project.name} 2")
    with refused(409, "conflict", "name"):
        org.projects.update(other.id, name=project.name)


def test_a_service_account_without_a_role_has_no_keys(org: Any, project: Any) -> None:
    bot = org.projects.service_accounts.create(project.id, name="bot", create_service_account_only=True)
    assert (bot.role, bot.api_key) == ("none", None)
    with refused(400, "service_account_without_role", "service_account_id"):
        org.projects.service_accounts.api_keys.create(bot.id, project_id=project.id)
    org.projects.service_accounts.update(bot.id, project_id=project.id, role="member")
    assert org.projects.service_accounts.api_keys.create(bot.id, project_id=project.id).name == "bot"


def test_each_kind_of_key_opens_its_own_door(served: Serving, key: str) -> None:
    def ask(secret: str, path: str) -> Any:
        with Wire(served.url, {"Authorization": f"Bearer {secret}"}) as wire:
            return wire.ask("GET", path)

    for path in (f"{ROOT}/projects", f"{ROOT}/audit_logs"):
        answer = ask(served.key, path)
        assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
        assert "admin key" in answer.error["message"]
        assert ask("sk-antiphon-admin-wrong", path).status == 401
    answer = ask(key, "/v1/models")
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
    assert "admin key" in answer.error["message"]


def test_what_is_not_served_is_told_to_administrators_only(served: Serving, wire: Wire) -> None:
    answer = wire.ask("GET", f"{ROOT}/groups")
    assert (answer.status, answer.error["code"]) == (404, "not_served")
    with Wire(served.url, served.headers) as outside:
        assert outside.ask("GET", f"{ROOT}/groups").status == 401


def test_last_use_of_an_admin_key_is_told(org: Any) -> None:
    org.users.list()
    used = [key.last_used_at for key in org.admin_api_keys.list(limit=100) if key.owner.name == "Owner"]
    assert any(at is not None and abs(at - time.time()) < 120 for at in used)


# --- the log ----------------------------------------------------------------------------------------------------------
def test_every_change_is_in_the_log_with_who_and_what(org: Any, project: Any, user: Any) -> None:
    org.projects.update(project.id, name=f"{project.name} 2")
    org.projects.users.create(project.id, user_id=user.id, role="member")
    org.projects.users.update(user.id, project_id=project.id, role="owner")
    bot = org.projects.service_accounts.create(project.id, name="bot")
    org.projects.api_keys.update(bot.api_key.id, project_id=project.id, expires_in_seconds=60)
    org.projects.api_keys.delete(bot.api_key.id, project_id=project.id)
    org.projects.service_accounts.delete(bot.id, project_id=project.id)
    org.projects.users.delete(user.id, project_id=project.id)
    org.projects.archive(project.id)
    entries = list(org.audit_logs.list(project_ids=[project.id], limit=4))
    assert [entry.type for entry in entries] == [
        "project.archived",
        "user.deleted",
        "service_account.deleted",
        "api_key.deleted",
        "api_key.updated",
        "api_key.created",
        "service_account.created",
        "user.updated",
        "user.added",
        "project.updated",
        "project.created",
    ]
    for entry in entries:
        assert entry.actor.api_key.user.email == "owner@localhost"
        assert entry.actor.api_key.ip_address == "127.0.0.1"
        assert abs(entry.effective_at - time.time()) < 60
    by_type = {entry.type: entry.to_dict() for entry in entries}
    assert by_type["project.updated"]["project.updated"] == {
        "id": project.id,
        "changes_requested": {"name": f"{project.name} 2"},
        "before": {"name": project.name},
    }
    assert by_type["user.updated"]["user.updated"]["before"] == {"role": "member"}
    assert by_type["project.created"]["project"]["name"] == f"{project.name} 2"


def test_what_is_refused_or_changes_nothing_is_not_in_the_log(org: Any, project: Any) -> None:
    before = org.audit_logs.list(limit=1).data[0].id
    with refused(409, "conflict", "name"):
        org.projects.create(name=project.name)
    with refused(404, "user_not_found", "user_id"):
        org.users.delete("user_nobody")
    org.projects.update(project.id, name=project.name)
    assert org.audit_logs.list(limit=1).data[0].id == before


def test_the_logs_filters(org: Any, project: Any) -> None:
    (entry,) = org.audit_logs.list(resource_ids=[project.id], event_types=["project.created"]).data
    actor, at = entry.actor.api_key, entry.effective_at

    def found(**query: Any) -> bool:
        return [each.id for each in org.audit_logs.list(resource_ids=[project.id], **query)] == [entry.id]

    assert found(effective_at={"gte": at, "lte": at})
    assert not found(effective_at={"gt": at})
    assert not found(effective_at={"lt": at})
    assert found(actor_ids=[actor.id])
    assert found(actor_ids=[actor.user.id, "user_x"])
    assert found(actor_emails=["OWNER@localhost"])
    assert not found(actor_emails=["nobody@localhost"])
    assert not found(event_types=["api_key.created"])
    assert not found(tenant_only=True)
    with refused(400, "invalid_value", "event_types"):
        org.audit_logs.list(event_types=["project.created"], tenant_only=True)
    with refused(400, "invalid_type", "effective_at[gt]"):
        org.audit_logs.list(extra_query={"effective_at[gt]": "yesterday"})
    with refused(400, "unknown_parameter", "effective_at[about]"):
        org.audit_logs.list(extra_query={"effective_at[about]": "5"})
    newer = org.audit_logs.list(before=entry.id, limit=100)
    older = org.audit_logs.list(after=entry.id, limit=100)
    assert entry.id not in [each.id for each in [*newer.data, *older.data]]


def test_no_secret_is_in_the_database_or_the_log(served: Serving, org: Any, key: str) -> None:
    project = org.projects.create(name="secretive")
    bot = org.projects.service_accounts.create(project.id, name="bot")
    other = org.admin_api_keys.create(name="other")
    secrets = [key, bot.api_key.value, other.value]
    shown = org.audit_logs.list(limit=100).to_json()
    path = served.settings.data_dir
    kept = b"".join(file.read_bytes() for file in path.glob("antiphon.db*") if file.is_file())
    for secret in secrets:
        assert secret not in shown
        assert secret.encode() not in kept
    assert b"secretive" in kept, "this looks into the wrong files"
