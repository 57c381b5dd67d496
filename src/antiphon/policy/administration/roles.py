"""Who may administer what: one table of routes and methods, and of the fields that need more."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from antiphon.domain.errors import PermissionDenied
from antiphon.domain.organisation import Administrator

_ROOT = "/v1/organization"
_PROJECT = f"{_ROOT}/projects/{{project_id}}"


class Rule(NamedTuple):
    """What it takes. An owner of the organisation may do everything.

    `reader`: holders of an admin key may. `project_owner`: an owner of the path's project may, if the request sets
    none but these `fields` (None: whichever it sets).
    """

    reader: bool = False
    project_owner: bool = False
    fields: frozenset[str] | None = None


ANYBODY = Rule(reader=True)
OWNER = Rule()
PROJECT_OWNER = Rule(project_owner=True)

#: What is not here: anybody may GET, and only an owner of the organisation may do the rest. So limits, budgets, users,
#: invites, admin keys and new projects are theirs alone, and so is every route that nobody has thought of here.
TABLE: dict[tuple[str, str], Rule] = {
    # It names addresses and emails.
    ("GET", f"{_ROOT}/audit_logs"): OWNER,
    ("POST", _PROJECT): Rule(project_owner=True, fields=frozenset({"name"})),
    ("POST", f"{_PROJECT}/users"): PROJECT_OWNER,
    ("POST", f"{_PROJECT}/users/{{user_id}}"): PROJECT_OWNER,
    ("DELETE", f"{_PROJECT}/users/{{user_id}}"): PROJECT_OWNER,
    ("POST", f"{_PROJECT}/service_accounts"): PROJECT_OWNER,
    ("POST", f"{_PROJECT}/service_accounts/{{service_account_id}}"): PROJECT_OWNER,
    ("DELETE", f"{_PROJECT}/service_accounts/{{service_account_id}}"): PROJECT_OWNER,
    ("POST", f"{_PROJECT}/service_accounts/{{service_account_id}}/api_keys"): PROJECT_OWNER,
    ("POST", f"{_PROJECT}/api_keys/{{api_key_id}}"): PROJECT_OWNER,
    ("DELETE", f"{_PROJECT}/api_keys/{{api_key_id}}"): PROJECT_OWNER,
}


def rule_of(method: str, path: str) -> Rule:
    """The rule for a method (in capitals) on a resource's path, with its parameters' names in it."""
    return TABLE.get((method, path), ANYBODY if method == "GET" else OWNER)


def check(who: Administrator, method: str, path: str, project_id: str | None) -> None:
    """Raise `PermissionDenied` unless they may use this method of this resource (of this project) at all."""
    rule = rule_of(method, path)
    if rule.reader or who.owns_organisation:
        return
    if not (rule.project_owner and project_id is not None and who.owns(project_id)):
        raise _denied("an owner of this project" if rule.project_owner else "an owner of the organisation")


def check_fields(who: Administrator, method: str, path: str, fields: Collection[str]) -> None:
    """Raise `PermissionDenied`, naming the field, unless they may set these fields. After `check`."""
    allowed = rule_of(method, path).fields
    if allowed is None or who.owns_organisation:
        return
    for field in fields:
        if field not in allowed:
            raise _denied("an owner of the organisation", field)


def _denied(who: str, field: str | None = None) -> PermissionDenied:
    what = "use this endpoint" if field is None else f"set '{field}'"
    return PermissionDenied(f"Your role does not allow you to {what}: it takes {who}.", param=field)
