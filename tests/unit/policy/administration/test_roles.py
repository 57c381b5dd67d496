"""The table of roles: every route of the administration × every role."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from antiphon.domain.errors import PermissionDenied
from antiphon.domain.organisation import Administrator, User
from antiphon.domain.tenancy import AdminKey
from antiphon.http import admin
from antiphon.policy.administration import roles

OWN, OTHER = "proj_own", "proj_other"


def who(org: str, place: str | None = None, key: str = "owner") -> Administrator:
    user = User("user_1", "Anna", "a@b", org, 0)
    projects = {} if place is None else {OWN: place}
    return Administrator(AdminKey("key_1", "k", b"", "…", key, 0, user_id=user.id), user, projects)


OWNER = who("owner")
LOW = {
    "reader": who("reader"),
    "member": who("reader", "member"),
    "project owner": who("reader", "owner"),
    "owner with a key that looks": who("owner", "owner", key="reader"),
    "project owner with a key that looks": who("reader", "owner", key="reader"),
}

ROUTES = [
    (method, resource.path)
    for resource in admin.resources(Mock(), Mock(), b"")
    for method in resource.methods
]  # fmt: skip
#: What an owner of a project may do to it: keys, members, service accounts, its name.
PROJECTS_OWN = {
    ("POST", "/v1/organization/projects/{project_id}"),
    ("POST", "/v1/organization/projects/{project_id}/users"),
    ("POST", "/v1/organization/projects/{project_id}/users/{user_id}"),
    ("DELETE", "/v1/organization/projects/{project_id}/users/{user_id}"),
    ("POST", "/v1/organization/projects/{project_id}/service_accounts"),
    ("POST", "/v1/organization/projects/{project_id}/service_accounts/{service_account_id}"),
    ("DELETE", "/v1/organization/projects/{project_id}/service_accounts/{service_account_id}"),
    ("POST", "/v1/organization/projects/{project_id}/service_accounts/{service_account_id}/api_keys"),
    ("POST", "/v1/organization/projects/{project_id}/api_keys/{api_key_id}"),
    ("DELETE", "/v1/organization/projects/{project_id}/api_keys/{api_key_id}"),
}


def allowed(administrator: Administrator, method: str, path: str, project: str | None = OWN) -> bool:
    try:
        roles.check(administrator, method, path, project if "{project_id}" in path else None)
    except PermissionDenied:
        return False
    return True


def test_every_rule_is_of_a_route_that_there_is() -> None:
    assert set(roles.TABLE) <= set(ROUTES)
    assert set(ROUTES) >= PROJECTS_OWN


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_who_may_what(method: str, path: str) -> None:
    assert allowed(OWNER, method, path)
    assert allowed(OWNER, method, path, OTHER)
    looks = method == "GET" and path != "/v1/organization/audit_logs"
    for name, administrator in LOW.items():
        manages = name == "project owner" and (method, path) in PROJECTS_OWN
        assert allowed(administrator, method, path) == (looks or manages), name
        assert allowed(administrator, method, path, OTHER) == looks, name


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/organization/projects/{project_id}/rate_limits/{rate_limit_id:path}"),
        ("POST", "/v1/organization/projects/{project_id}/spend_limit"),
        ("DELETE", "/v1/organization/spend_limit"),
        ("PATCH", "/v1/organization/what/nobody/has/thought/of"),
    ],
)
def test_limits_budgets_and_new_routes_are_an_owners(method: str, path: str) -> None:
    assert allowed(OWNER, method, path)
    assert not any(allowed(administrator, method, path) for administrator in LOW.values())


def test_fields_that_need_more() -> None:
    path = "/v1/organization/projects/{project_id}"
    roles.check_fields(LOW["project owner"], "POST", path, ["name"])
    roles.check_fields(OWNER, "POST", path, ["name", "external_key_id"])
    with pytest.raises(PermissionDenied) as refused:
        roles.check_fields(LOW["project owner"], "POST", path, ["name", "external_key_id"])
    assert refused.value.param == "external_key_id"


def test_a_key_without_a_user_is_what_it_says() -> None:
    for role, may in (("owner", True), ("reader", False)):
        administrator = Administrator(AdminKey("key_1", "k", b"", "…", role, 0), None, {})
        assert allowed(administrator, "POST", "/v1/organization/projects") == may
        assert allowed(administrator, "GET", "/v1/organization/projects")
