"""Stored chat completions in the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Select, bindparam, delete, func, select, tuple_

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest, NotFound
from antiphon.domain.records import Page, StoredCompletion
from antiphon.stores.query import DatabaseSession, Row, Statement, insertion
from antiphon.stores.section import PageCursor, StoreSection, is_valid_id, require_valid_id
from antiphon.stores.tables import chat_completion_metadata as pairs
from antiphon.stores.tables import chat_completions as completions

# The columns stand in the order of the dataclass' fields.
_COMPLETION = (
    completions.c.project_id,
    completions.c.id,
    completions.c.created_at,
    completions.c.model,
    completions.c.body,
    completions.c.messages,
)
_NAMED = (completions.c.project_id == bindparam("project_id"), completions.c.id == bindparam("id"))

_PUT = insertion(completions, replace=("project_id", "id"))
_GET = Statement(select(*_COMPLETION).where(*_NAMED))
_PLACE = Statement(select(completions.c.created_at, completions.c.seq).where(*_NAMED))
# The metadata goes by ON DELETE CASCADE.
_DELETE = Statement(delete(completions).where(*_NAMED))
_OF_COMPLETION = (
    pairs.c.project_id == bindparam("project_id"),
    pairs.c.completion_id == bindparam("completion_id"),
)
_PAIRS = Statement(select(pairs.c.key, pairs.c.value).where(*_OF_COMPLETION).order_by(pairs.c.position))
_ADD_PAIR = insertion(pairs)
_CLEAR_PAIRS = Statement(delete(pairs).where(*_OF_COMPLETION))


class CompletionSection(StoreSection):
    """Implements `ports.CompletionStore`."""

    async def put_completion(self, completion: StoredCompletion) -> None:
        """Insert or replace one; it keeps its place in lists. Durable when this returns.

        Raises `InvalidRequest` for an id or metadata that cannot be stored, `StoreFailed` if the project does not
        exist.
        """
        require_valid_id(completion.project_id, completion.id)
        for key, value in completion.metadata.items():
            if len(key) > limits.MAX_METADATA_KEY or len(value) > limits.MAX_METADATA_VALUE:
                raise InvalidRequest(
                    f"Metadata keys have at most {limits.MAX_METADATA_KEY} characters, "
                    f"values {limits.MAX_METADATA_VALUE}.",
                    param="metadata",
                )
        await self._database.write(_put, completion, key=(completion.project_id, completion.id))

    async def get_completion(self, project_id: str, completion_id: str) -> StoredCompletion | None:
        """The completion, or None if this project has none of that id."""
        if not is_valid_id(project_id, completion_id):
            return None
        return await self._database.read(_get, project_id, completion_id)

    async def delete_completion(self, project_id: str, completion_id: str) -> bool:
        """Delete one; False if there was none."""
        if not is_valid_id(project_id, completion_id):
            return False
        name = (project_id, completion_id)
        return await self._database.write(_delete, name, key=name, erases=True)

    async def list_completions(
        self,
        project_id: str,
        *,
        model: str | None,
        metadata: dict[str, str],
        after: str | None,
        limit: int,
        ascending: bool,
    ) -> Page[StoredCompletion]:
        """A page by time of creation. All pairs of `metadata` must match.

        `after` is a completion's id, which itself need not match (unknown: raises `NotFound` with param "after").
        """
        if after is not None and not is_valid_id(after):
            raise _unknown_after(after)
        if not is_valid_id(project_id) or not is_valid_id(model or ""):
            return Page([], has_more=False)
        return await self._database.read(_list, project_id, model, metadata, PageCursor(after, limit, ascending))


def _put(session: DatabaseSession, batch: Sequence[StoredCompletion]) -> list[None]:
    session.many(
        _PUT,
        [
            {
                "project_id": completion.project_id,
                "id": completion.id,
                "created_at": completion.created_at,
                "model": completion.model,
                "body": completion.body,
                "messages": completion.messages,
            }
            for completion in batch
        ],
    )
    session.many(
        _CLEAR_PAIRS,
        [{"project_id": completion.project_id, "completion_id": completion.id} for completion in batch],
    )
    session.many(
        _ADD_PAIR,
        [
            {
                "project_id": completion.project_id,
                "completion_id": completion.id,
                "key": _encode(key),
                "value": _encode(value),
                "position": position,
            }
            for completion in batch
            for position, (key, value) in enumerate(completion.metadata.items())
        ],
    )
    return [None] * len(batch)


def _get(session: DatabaseSession, project_id: str, completion_id: str) -> StoredCompletion | None:
    with session.snapshot():
        row = session.one(_GET, {"project_id": project_id, "id": completion_id})
        rows = session.all(_PAIRS, {"project_id": project_id, "completion_id": completion_id}) if row else []
    return _record(row, rows) if row else None


def _delete(session: DatabaseSession, batch: Sequence[tuple[str, str]]) -> list[bool]:
    return [session.run(_DELETE, {"project_id": project, "id": completion}) > 0 for project, completion in batch]


def _list(
    session: DatabaseSession, project_id: str, model: str | None, metadata: Mapping[str, str], cut: PageCursor
) -> Page[StoredCompletion]:
    after, limit, ascending = cut
    statement = _matching(project_id, model, metadata)
    place = (completions.c.created_at, completions.c.seq)
    with session.snapshot():
        if after is not None:
            last = session.one(_PLACE, {"project_id": project_id, "id": after})
            if last is None:
                raise _unknown_after(after)
            beyond = tuple_(*place) > tuple_(*last) if ascending else tuple_(*place) < tuple_(*last)
            statement = statement.where(beyond)
        order = [column.asc() if ascending else column.desc() for column in place]
        rows = session.select(statement.order_by(*order).limit(limit + 1))
        data = _with_metadata(session, project_id, rows[:limit])
    return Page(data, has_more=len(rows) > limit)


def _matching(project_id: str, model: str | None, metadata: Mapping[str, str]) -> Select[Any]:
    statement = select(*_COMPLETION).where(completions.c.project_id == project_id)
    if model is not None:
        statement = statement.where(completions.c.model == model)
    if metadata:
        statement = statement.where(completions.c.id.in_(_having_all(project_id, metadata)))
    return statement


def _having_all(project_id: str, metadata: Mapping[str, str]) -> Select[Any]:
    """Ids of the completions that have each of these pairs.

    One subquery, however many pairs there are: with one for each, PostgreSQL takes seconds to plan a hundred joins.
    """
    wanted = [(_encode(key), _encode(value)) for key, value in metadata.items()]
    return (
        select(pairs.c.completion_id)
        .where(pairs.c.project_id == project_id, tuple_(pairs.c.key, pairs.c.value).in_(wanted))
        .group_by(pairs.c.completion_id)
        .having(func.count() == len(wanted))
    )


def _with_metadata(session: DatabaseSession, project_id: str, rows: Sequence[Row]) -> list[StoredCompletion]:
    if not rows:
        return []
    statement = (
        select(pairs.c.completion_id, pairs.c.key, pairs.c.value)
        .where(pairs.c.project_id == project_id, pairs.c.completion_id.in_([row[1] for row in rows]))
        .order_by(pairs.c.position)
    )
    pairs_of: dict[str, list[Row]] = {row[1]: [] for row in rows}
    for completion_id, *pair in session.select(statement):
        pairs_of[completion_id].append(tuple(pair))
    return [_record(row, pairs_of[row[1]]) for row in rows]


def _record(row: Row, its_pairs: Sequence[Row]) -> StoredCompletion:
    project_id, completion_id, created_at, model, body, messages = row
    metadata = {_decode(key): _decode(value) for key, value in its_pairs}
    return StoredCompletion(project_id, completion_id, created_at, model, body, messages, metadata)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _unknown_after(after: str) -> NotFound:
    return NotFound(f"No chat completion with id '{after[:100]}' found.", param="after")
