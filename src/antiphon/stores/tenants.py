"""Projects and keys in the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import bindparam, func, or_, select, update

from antiphon.domain.errors import Conflict, NotFound
from antiphon.domain.tenancy import Caller, Key, Project
from antiphon.stores.limits import limits_of
from antiphon.stores.query import DatabaseSession, Row, Statement, insertion
from antiphon.stores.section import StoreSection, is_valid_id, require_valid_id
from antiphon.stores.tables import api_keys, projects

# The columns stand in the order of the dataclass' fields.
_PROJECT = tuple(projects.c[name] for name in Project.__dataclass_fields__)
_PROJECT_FIELDS = tuple(column.name for column in _PROJECT)
_KEY = tuple(api_keys.c[name] for name in Key.__dataclass_fields__)
_KEY_FIELDS = tuple(column.name for column in _KEY)
_LISTS = ("scopes", "models", "addresses")
_NOBODY = Key("", "", "", b"", "", 0)

_ADD_PROJECT = insertion(projects)
_GET_PROJECT = Statement(
    select(*_PROJECT)
    .where(or_(projects.c.id == bindparam("wanted"), projects.c.name == bindparam("wanted")))
    # A project may be named like another one's id: the id goes first.
    .order_by((projects.c.id == bindparam("wanted")).desc())
)
_SET_RESPONSE_TTL = Statement(
    update(projects).where(projects.c.id == bindparam("project_id")).values(response_ttl=bindparam("ttl"))
)
_LIST_PROJECTS = Statement(select(*_PROJECT).order_by(projects.c.created_at, projects.c.seq))
_ADD_KEY = insertion(api_keys)
_FIND_KEY = Statement(select(*_KEY).where(api_keys.c.digest == bindparam("digest")))
_GET_KEY = Statement(select(*_KEY).where(api_keys.c.id == bindparam("key_id")))
_FIND_CALLER = Statement(
    select(*_KEY, *_PROJECT)
    .join(projects, projects.c.id == api_keys.c.project_id)
    .where(api_keys.c.digest == bindparam("digest"))
)
_LIST_KEYS = Statement(select(*_KEY).order_by(api_keys.c.created_at, api_keys.c.seq))
_LIST_PROJECTS_KEYS = Statement(
    select(*_KEY)
    .where(api_keys.c.project_id == bindparam("project_id"))
    .order_by(api_keys.c.created_at, api_keys.c.seq)
)
_REVOKE_KEY = Statement(
    update(api_keys)
    .where(api_keys.c.id == bindparam("key_id"))
    .values(revoked_at=func.coalesce(api_keys.c.revoked_at, bindparam("at")))
)


class TenantSection(StoreSection):
    """Implements `ports.TenantStore`."""

    async def create_project(self, project: Project) -> None:
        """Add a project. Raises `Conflict` if one with that name or id exists."""
        require_valid_id(project.id, project.name)
        try:
            await self._database.write(_create_projects, project, key=("project", project.id))
        except Conflict:
            raise Conflict(f"A project named '{project.name}' exists already.") from None

    async def get_project(self, name_or_id: str) -> Project | None:
        """The project with this id or name."""
        return await self._database.read(_get_project, name_or_id) if is_valid_id(name_or_id) else None

    async def list_projects(self) -> list[Project]:
        """All projects, oldest first."""
        return await self._database.read(_list_projects)

    async def set_response_ttl(self, project_id: str, ttl: int | None) -> bool:
        """How long responses that this project makes from now on are kept; see `Project`. False if there is none."""
        if not is_valid_id(project_id):
            return False
        return await self._database.write(_set_response_ttl, (project_id, ttl), key=("project", project_id))

    async def create_key(self, key: Key) -> None:
        """Add a key. Raises `NotFound` if there is no such project, `Conflict` if the key is there already."""
        require_valid_id(key.id, key.project_id, key.name)
        if await self.get_project(key.project_id) is None:
            raise NotFound(f"There is no project '{key.project_id}'.")
        try:
            await self._database.write(_create_keys, key, key=("key", key.id))
        except Conflict:
            raise Conflict("A key with this id or this secret exists already.") from None

    async def find_key(self, digest: bytes) -> Key | None:
        """The key with this keyed hash, revoked or not."""
        return await self._database.read(_find_key, digest)

    async def list_keys(self, project_id: str | None = None) -> list[Key]:
        """All keys, or one project's, oldest first."""
        if project_id is not None and not is_valid_id(project_id):
            return []
        return await self._database.read(_list_keys, project_id)

    async def revoke_key(self, key_id: str, at: int) -> bool:
        """Revoke a key from `at` (Unix seconds) on. False if there is none; revoking twice keeps the first time."""
        if not is_valid_id(key_id):
            return False
        return await self._database.write(_revoke_keys, (key_id, at), key=("key", key_id))

    async def find_caller(self, digest: bytes) -> Caller | None:
        """The key with this keyed hash, revoked or not, and its project."""
        return await self._database.read(_find_caller, digest)

    async def get_key(self, key_id: str) -> Key | None:
        """The key with this id, revoked or not."""
        return await self._database.read(_get_key, key_id) if is_valid_id(key_id) else None


def _create_projects(session: DatabaseSession, batch: Sequence[Project]) -> list[None]:
    session.many(
        _ADD_PROJECT,
        [{name: getattr(project, name) for name in _PROJECT_FIELDS} for project in batch],
    )
    return [None] * len(batch)


def _set_response_ttl(session: DatabaseSession, batch: Sequence[tuple[str, int | None]]) -> list[bool]:
    return [session.run(_SET_RESPONSE_TTL, {"project_id": project, "ttl": ttl}) > 0 for project, ttl in batch]


def _get_project(session: DatabaseSession, name_or_id: str) -> Project | None:
    row = session.one(_GET_PROJECT, {"wanted": name_or_id})
    return Project(*row) if row else None


def _list_projects(session: DatabaseSession) -> list[Project]:
    return [Project(*row) for row in session.all(_LIST_PROJECTS, {})]


def _create_keys(session: DatabaseSession, batch: Sequence[Key]) -> list[None]:
    add_keys(session, batch)
    return [None] * len(batch)


def add_keys(session: DatabaseSession, keys: Sequence[Key]) -> None:
    """Add rows."""
    rows = [{name: getattr(key, name) for name in _KEY_FIELDS} for key in keys]
    session.many(_ADD_KEY, [{**row, **{name: _as_text(row[name]) for name in _LISTS}} for row in rows])


def _as_text(texts: tuple[str, ...] | None) -> str | None:
    return None if texts is None else msgspec.json.encode(texts).decode()


def _key(row: Row) -> Key:
    fields = dict(zip(_KEY_FIELDS, row, strict=True))
    for name in _LISTS:
        if fields[name] is not None:
            fields[name] = tuple(msgspec.json.decode(fields[name]))
    return Key(**fields)


def _find_key(session: DatabaseSession, digest: bytes) -> Key | None:
    row = session.one(_FIND_KEY, {"digest": digest})
    return _key(row) if row else None


def _get_key(session: DatabaseSession, key_id: str) -> Key | None:
    row = session.one(_GET_KEY, {"key_id": key_id})
    return _key(row) if row else None


def _find_caller(session: DatabaseSession, digest: bytes) -> Caller | None:
    row = session.one(_FIND_CALLER, {"digest": digest})
    # Asked for in any case: how long this takes must not tell whether there is such a key.
    key = _key(row[: len(_KEY)]) if row else _NOBODY
    found = limits_of(session, key)
    return Caller(key, Project(*row[len(_KEY) :]), found) if row else None


def _list_keys(session: DatabaseSession, project_id: str | None) -> list[Key]:
    if project_id is None:
        rows = session.all(_LIST_KEYS, {})
    else:
        rows = session.all(_LIST_PROJECTS_KEYS, {"project_id": project_id})
    return [_key(row) for row in rows]


def _revoke_keys(session: DatabaseSession, batch: Sequence[tuple[str, int]]) -> list[bool]:
    return [session.run(_REVOKE_KEY, {"key_id": key_id, "at": at}) > 0 for key_id, at in batch]


# --- for other parts of the store -----------------------------------------------------------------------------------
PROJECT = _PROJECT
KEY = _KEY


def insert_project(session: DatabaseSession, project: Project) -> None:
    """Add a project, as part of a change."""
    session.run(_ADD_PROJECT, {name: getattr(project, name) for name in _PROJECT_FIELDS})


def insert_key(session: DatabaseSession, key: Key) -> None:
    """Add a key, as part of a change."""
    add_keys(session, [key])


def key_of(*row: Any) -> Key:
    """A key, made of its columns."""
    return _key(row)


def listed(texts: tuple[str, ...] | None) -> str | None:
    """A list as a column holds it."""
    return _as_text(texts)
