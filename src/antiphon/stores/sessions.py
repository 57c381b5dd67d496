"""Sessions of browsers in the database."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, delete, select

from antiphon.domain.errors import Conflict, NotFound
from antiphon.domain.sessions import Session
from antiphon.domain.tenancy import Caller, Project
from antiphon.stores.limits import limits_of
from antiphon.stores.query import DatabaseSession, Statement, insertion
from antiphon.stores.section import StoreSection, is_valid_id
from antiphon.stores.tables import api_keys, projects, sessions
from antiphon.stores.tenants import KEY, PROJECT, key_of

# The columns stand in the order of the dataclass' fields.
_SESSION = tuple(sessions.c[name] for name in Session.__dataclass_fields__)
_FIELDS = tuple(column.name for column in _SESSION)

_ADD = insertion(sessions)
_KEY_EXISTS = Statement(select(api_keys.c.id).where(api_keys.c.id == bindparam("key_id")))
_FIND = Statement(
    select(*_SESSION, *KEY, *PROJECT)
    .join(api_keys, api_keys.c.id == sessions.c.key_id)
    .join(projects, projects.c.id == api_keys.c.project_id)
    .where(sessions.c.digest == bindparam("digest"))
)
_DELETE = Statement(delete(sessions).where(sessions.c.digest == bindparam("digest")))
_DELETE_EXPIRED = Statement(delete(sessions).where(sessions.c.expires_at <= bindparam("now")))
_OF_KEY = Statement(
    select(sessions.c.digest)
    .where(sessions.c.key_id == bindparam("key_id"))
    .order_by(sessions.c.created_at.desc(), sessions.c.seq.desc())
)


class SessionSection(StoreSection):
    """Implements `ports.SessionStore`."""

    async def add_session(self, session: Session, *, most: int) -> None:
        """Add a session. Expired ones are removed, and the key's oldest beyond `most`.

        Raises `NotFound` if there is no such key.
        """
        if not is_valid_id(session.key_id) or not await self._database.read(_key_exists, session.key_id):
            raise NotFound("The key of this session is gone.")
        try:
            await self._database.write(_add, (session, most), key=("session", session.id))
        except Conflict:
            raise Conflict("A session with this id exists already.") from None

    async def find_session(self, digest: bytes) -> tuple[Session, Caller] | None:
        """The session with this keyed hash, expired or not, and who has opened it, revoked or not."""
        return await self._database.read(_find, digest)

    async def delete_session(self, digest: bytes) -> bool:
        """Remove a session. False if there is none."""
        return await self._database.write(_delete, digest, key=("session", digest.hex()))


def _key_exists(session: DatabaseSession, key_id: str) -> bool:
    return session.one(_KEY_EXISTS, {"key_id": key_id}) is not None


def _add(session: DatabaseSession, batch: Sequence[tuple[Session, int]]) -> list[None]:
    for added, most in batch:
        session.run(_DELETE_EXPIRED, {"now": added.created_at})
        session.run(_ADD, {name: getattr(added, name) for name in _FIELDS})
        for row in session.all(_OF_KEY, {"key_id": added.key_id})[most:]:
            session.run(_DELETE, {"digest": row[0]})
    return [None] * len(batch)


def _find(session: DatabaseSession, digest: bytes) -> tuple[Session, Caller] | None:
    row = session.one(_FIND, {"digest": digest})
    if row is None:
        return None
    of_key = len(_SESSION) + len(KEY)
    key = key_of(*row[len(_SESSION) : of_key])
    caller = Caller(key, Project(*row[of_key:]), limits_of(session, key))
    return Session(*row[: len(_SESSION)]), caller


def _delete(session: DatabaseSession, batch: Sequence[bytes]) -> list[bool]:
    return [session.run(_DELETE, {"digest": digest}) > 0 for digest in batch]
