"""Rate limits in the database."""

from __future__ import annotations

from typing import get_args

from sqlalchemy import and_, bindparam, delete, func, or_, select

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest
from antiphon.domain.organisation import AuditEntry
from antiphon.domain.rates import NO_LIMITS, RateLimit, RateLimits, Scope
from antiphon.domain.tenancy import Key
from antiphon.stores.audited import AuditedSection, record
from antiphon.stores.query import DatabaseSession, Statement, insertion
from antiphon.stores.section import is_valid_id, require_valid_id
from antiphon.stores.tables import rate_limits

_FIELDS = tuple(column.name for column in rate_limits.columns)
_PLACE = ("scope", "subject", "model")

_SUBJECT = and_(rate_limits.c.scope == bindparam("scope"), rate_limits.c.subject == bindparam("subject"))
_SORTED = (rate_limits.c.scope, rate_limits.c.subject, rate_limits.c.model)
_PUT = insertion(rate_limits, replace=_PLACE)
_REMOVE = Statement(delete(rate_limits).where(_SUBJECT, rate_limits.c.model == bindparam("model")))
_COUNT = Statement(select(func.count()).select_from(rate_limits).where(_SUBJECT))
_LIST = Statement(select(*rate_limits.columns).order_by(*_SORTED))
_LIST_SCOPE = Statement(
    select(*rate_limits.columns).where(rate_limits.c.scope == bindparam("scope")).order_by(*_SORTED)
)
_LIST_SUBJECT = Statement(select(*rate_limits.columns).where(_SUBJECT).order_by(*_SORTED))
_OF_CALLER = Statement(
    select(*rate_limits.columns)
    .where(
        or_(
            *(
                and_(rate_limits.c.scope == bindparam(f"{s}_scope"), rate_limits.c.subject == bindparam(s))
                for s in get_args(Scope)
            )
        )
    )
    .order_by(*_SORTED)
)
_SCOPES = {f"{scope}_scope": scope for scope in get_args(Scope)}


class Limits(AuditedSection):
    """Implements the part of `ports.AccessStore` that is about rate limits."""

    async def put_rate_limit(self, limit: RateLimit, entry: AuditEntry | None = None) -> None:
        """Set the limits of a subject and a model; see `ports`."""
        require_valid_id(limit.subject, limit.model)
        await self._change(lambda session: _put(session, limit, entry))

    async def list_rate_limits(self, scope: str | None = None, subject: str | None = None) -> list[RateLimit]:
        """Limits by scope, subject and model; see `ports`."""
        if subject is not None and not is_valid_id(subject):
            return []
        return await self._database.read(_list, scope, subject)

    async def limits_of(self, key: Key) -> RateLimits:
        """All limits that a key's calls come under."""
        return await self._database.read(limits_of, key)


def limits_of(session: DatabaseSession, key: Key) -> RateLimits:
    """All limits that a key's calls come under."""
    subjects = {"organization": "", "project": key.project_id, "user": key.user_id or "", "key": key.id}
    rows = session.all(_OF_CALLER, {**subjects, **_SCOPES})
    return RateLimits(RateLimit(*row) for row in rows) if rows else NO_LIMITS


def _put(session: DatabaseSession, limit: RateLimit, entry: AuditEntry | None) -> None:
    place = {name: getattr(limit, name) for name in _PLACE}
    session.run(_REMOVE, place)
    if not limit.empty:
        (count,) = session.all(_COUNT, {"scope": limit.scope, "subject": limit.subject})[0]
        if count >= limits.MAX_RATE_LIMITS:
            raise InvalidRequest(
                f"Limits can be set for at most {limits.MAX_RATE_LIMITS} models of one {limit.scope}.",
                code="too_many_rate_limits",
            )
        session.run(_PUT, {name: getattr(limit, name) for name in _FIELDS})
    if entry is not None:
        record(session, entry)


def _list(session: DatabaseSession, scope: str | None, subject: str | None) -> list[RateLimit]:
    if scope is None:
        rows = session.all(_LIST, {})
    elif subject is None:
        rows = session.all(_LIST_SCOPE, {"scope": scope})
    else:
        rows = session.all(_LIST_SUBJECT, {"scope": scope, "subject": subject})
    return [RateLimit(*row) for row in rows]
