"""The organisation: its users, their places in projects, service accounts, invites, and the log of who changed what."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from antiphon.domain.ids import new_id
from antiphon.domain.tenancy import AdminKey

#: In the organisation: an owner may change everything, a reader may look.
OrgRole = Literal["owner", "reader"]
#: In a project: an owner may manage its keys, members and service accounts.
ProjectRole = Literal["owner", "member"]
ORG_ROLES = ("owner", "reader")
PROJECT_ROLES = ("owner", "member")


@dataclass(frozen=True, slots=True)
class User:
    """Somebody of the organisation. `email` is in small letters, and no other user's. `created_at`: Unix seconds."""

    id: str
    name: str
    email: str
    role: str
    created_at: int
    technical_level: str | None = None
    developer_persona: str | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """A user's place in a project. `added_at` is in Unix seconds."""

    project_id: str
    user: User
    role: str
    added_at: int


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """Somebody who is no person, for the keys of programs. `role`: a project role, or "none": it can have no keys."""

    id: str
    project_id: str
    name: str
    role: str
    created_at: int


@dataclass(frozen=True, slots=True)
class Invite:
    """An invitation to become a user, and a member of `projects` (pairs of id and role). Times are Unix seconds."""

    id: str
    email: str
    role: str
    projects: tuple[tuple[str, str], ...]
    created_at: int
    expires_at: int
    accepted_at: int | None = None

    def status(self, now: float) -> str:
        """`accepted`, `expired` or `pending` at `now` (Unix seconds)."""
        if self.accepted_at is not None:
            return "accepted"
        return "pending" if now < self.expires_at else "expired"


@dataclass(frozen=True, slots=True)
class Administrator:
    """Who administers: an admin key, its user, and the user's role in each project that they are a member of."""

    key: AdminKey
    user: User | None
    projects: Mapping[str, str]

    @property
    def owns_organisation(self) -> bool:
        """Whether everything is allowed. A key allows no more than its user is, and a reader's key less."""
        return self.key.role == "owner" and (self.user is None or self.user.role == "owner")

    def owns(self, project_id: str) -> bool:
        """Whether this project is theirs to manage."""
        mine = self.key.role == "owner" and self.projects.get(project_id) == "owner"
        return mine or self.owns_organisation

    def acting(self, address: str | None) -> Actor:
        """As the log names them, calling from this address."""
        if self.user is None:
            return Actor("api_key", self.key.id, address=address)
        return Actor("api_key", self.key.id, self.user.id, self.user.email, address)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes something. `kind`: "api_key" over HTTP, "session" on the command line of the server's machine."""

    kind: Literal["api_key", "session"]
    key_id: str | None = None
    user_id: str | None = None
    email: str | None = None
    address: str | None = None


#: Whoever sits at the server's machine and can read its data directory.
CLI = Actor("session")

#: Kinds of changes, by OpenAI's names (published specification, AuditLogEventType).
EventType = Literal[
    "api_key.created",
    "api_key.updated",
    "api_key.deleted",
    "invite.sent",
    "invite.accepted",
    "invite.deleted",
    "organization.updated",
    "project.created",
    "project.updated",
    "project.archived",
    "rate_limit.updated",
    "rate_limit.deleted",
    "service_account.created",
    "service_account.updated",
    "service_account.deleted",
    "user.added",
    "user.updated",
    "user.deleted",
]


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One administrative change. `resource_id` names what was changed; `at` is in Unix seconds.

    `before` and `after` hold the changed fields only, as JSON values, and never a secret or its hash.
    """

    type: EventType
    actor: Actor
    resource_id: str
    project_id: str | None = None
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    at: int = field(default_factory=lambda: int(time.time()))
    id: str = field(default_factory=lambda: new_id("audit_log-"))


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields that are not the same, as they were and as they are: `before` and `after` of an `AuditEntry`."""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return {name: before[name] for name in names if name in before}, {name: after.get(name) for name in names}


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries of the log are wanted; an empty tuple or None asks for nothing in particular.

    Times are Unix seconds. `actors` are ids of users or keys. `after` and `before` are ids of entries: older, and
    newer, than that one.
    """

    since: int | None = None
    until: int | None = None
    projects: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    actors: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    after: str | None = None
    before: str | None = None
