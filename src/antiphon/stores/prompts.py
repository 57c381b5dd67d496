"""Prompts and their versions in the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, delete, func, literal_column, select, update

from antiphon.domain.errors import Conflict, NotFound
from antiphon.domain.records import Page, StoredPrompt, StoredPromptVersion
from antiphon.stores.query import DatabaseSession, Statement, insertion
from antiphon.stores.section import PageCursor, StoreSection, is_valid_id, require_valid_id
from antiphon.stores.tables import prompt_versions as versions
from antiphon.stores.tables import prompts

_LATEST = (
    select(func.max(versions.c.version))
    .where(versions.c.project_id == prompts.c.project_id, versions.c.prompt_id == prompts.c.id)
    .scalar_subquery()
)
# The columns stand in the order of the dataclass' fields.
_PROMPT = (prompts.c.project_id, prompts.c.id, prompts.c.name, prompts.c.created_at, prompts.c.published, _LATEST)
_VERSION = (versions.c.prompt_id, versions.c.version, versions.c.created_at, versions.c.body)
_NAMED = (prompts.c.project_id == bindparam("project_id"), prompts.c.id == bindparam("id"))
_OF_PROMPT = (versions.c.project_id == bindparam("project_id"), versions.c.prompt_id == bindparam("id"))
_NUMBERED = (*_OF_PROMPT, versions.c.version == bindparam("number"))

_ADD = insertion(prompts)
_ADD_VERSION = insertion(versions)
_GET = Statement(select(*_PROMPT).where(*_NAMED))
# PostgreSQL: whoever numbers the next version holds the prompt's row until that version is there.
_HOLD = Statement(update(prompts).where(*_NAMED).values(name=prompts.c.name))
_NEWEST = Statement(select(func.max(versions.c.version)).where(*_OF_PROMPT))
_RENAME = Statement(update(prompts).where(*_NAMED).values(name=bindparam("new_name")))
# The versions go by ON DELETE CASCADE.
_DELETE = Statement(delete(prompts).where(*_NAMED))
_PUBLISH = Statement(
    update(prompts)
    .where(*_NAMED, select(literal_column("1")).where(*_NUMBERED).exists())
    .values(published=bindparam("number"))
)
_GET_VERSION = Statement(select(*_VERSION).where(*_NUMBERED))
_PLACE = Statement(select(prompts.c.seq).where(*_NAMED))


class _New(NamedTuple):
    prompt: StoredPrompt
    body: bytes


class _NewVersion(NamedTuple):
    project_id: str
    prompt_id: str
    created_at: int
    body: bytes
    publish: bool


class PromptSection(StoreSection):
    """Implements `ports.PromptStore`."""

    async def create_prompt(self, prompt: StoredPrompt, body: bytes) -> None:
        """Add a prompt with its first version. Raises `Conflict` if the project has one with that id."""
        require_valid_id(prompt.project_id, prompt.id)
        try:
            await self._database.write(_create, _New(prompt, body), key=_order(prompt.project_id, prompt.id))
        except Conflict:
            raise Conflict(f"A prompt with id '{prompt.id}' exists already.") from None

    async def get_prompt(self, project_id: str, prompt_id: str) -> StoredPrompt | None:
        """The prompt, or None if this project has none of that id."""
        if not is_valid_id(project_id, prompt_id):
            return None
        return await self._database.read(_get, project_id, prompt_id)

    async def list_prompts(
        self, project_id: str, *, after: str | None, limit: int, ascending: bool
    ) -> Page[StoredPrompt]:
        """A page by time of creation; see `ports`."""
        if after is not None and not is_valid_id(after):
            raise _unknown_after(after)
        return await self._database.read(_list, project_id, PageCursor(after, limit, ascending))

    async def rename_prompt(self, project_id: str, prompt_id: str, name: str) -> bool:
        """Change the name; False if there is no such prompt."""
        if not is_valid_id(project_id, prompt_id):
            return False
        return await self._database.write(_rename, (project_id, prompt_id, name), key=_order(project_id, prompt_id))

    async def delete_prompt(self, project_id: str, prompt_id: str) -> bool:
        """Delete a prompt and its versions; False if there was none."""
        if not is_valid_id(project_id, prompt_id):
            return False
        name = (project_id, prompt_id)
        return await self._database.write(_delete, name, key=_order(*name), erases=True)

    async def add_prompt_version(
        self, project_id: str, prompt_id: str, body: bytes, *, created_at: int, publish: bool
    ) -> int | None:
        """Add the next version and publish it if asked; see `ports`."""
        if not is_valid_id(project_id, prompt_id):
            return None
        new = _NewVersion(project_id, prompt_id, created_at, body, publish)
        return await self._database.write(_add_versions, new, key=_order(project_id, prompt_id))

    async def publish_prompt(self, project_id: str, prompt_id: str, version: int) -> bool:
        """Make this version the one that answers; False if there is no such version."""
        if not is_valid_id(project_id, prompt_id):
            return False
        return await self._database.write(_publish, (project_id, prompt_id, version), key=_order(project_id, prompt_id))

    async def get_prompt_version(self, project_id: str, prompt_id: str, version: int) -> StoredPromptVersion | None:
        """A version, or None if there is none of that number."""
        if not is_valid_id(project_id, prompt_id):
            return None
        return await self._database.read(_get_version, project_id, prompt_id, version)

    async def list_prompt_versions(
        self, project_id: str, prompt_id: str, *, after: int | None, limit: int, ascending: bool
    ) -> Page[StoredPromptVersion]:
        """A page by number; see `ports`."""
        if not is_valid_id(project_id, prompt_id):
            return Page([], has_more=False)
        return await self._database.read(_list_versions, project_id, prompt_id, after, limit, ascending)


def _order(project_id: str, prompt_id: str) -> tuple[str, str, str]:
    return ("prompt", project_id, prompt_id)


def _create(session: DatabaseSession, batch: Sequence[_New]) -> list[None]:
    for prompt, body in batch:
        row = {"project_id": prompt.project_id, "id": prompt.id, "name": prompt.name}
        session.run(_ADD, {**row, "created_at": prompt.created_at, "published": prompt.published})
        _insert_version(session, _NewVersion(prompt.project_id, prompt.id, prompt.created_at, body, False), 1)
    return [None] * len(batch)


def _insert_version(session: DatabaseSession, new: _NewVersion, number: int) -> None:
    session.run(
        _ADD_VERSION,
        {
            "project_id": new.project_id,
            "prompt_id": new.prompt_id,
            "version": number,
            "created_at": new.created_at,
            "body": new.body,
        },
    )


def _add_versions(session: DatabaseSession, batch: Sequence[_NewVersion]) -> list[int | None]:
    return [_add_version(session, new) for new in batch]


def _add_version(session: DatabaseSession, new: _NewVersion) -> int | None:
    name = {"project_id": new.project_id, "id": new.prompt_id}
    if not session.run(_HOLD, name):
        return None
    newest = session.one(_NEWEST, name)
    assert newest is not None
    number: int = newest[0] + 1
    _insert_version(session, new, number)
    if new.publish:
        session.run(_PUBLISH, {**name, "number": number})
    return number


def _get(session: DatabaseSession, project_id: str, prompt_id: str) -> StoredPrompt | None:
    row = session.one(_GET, {"project_id": project_id, "id": prompt_id})
    return StoredPrompt(*row) if row else None


def _list(session: DatabaseSession, project_id: str, cut: PageCursor) -> Page[StoredPrompt]:
    after, limit, ascending = cut
    statement = select(*_PROMPT).where(prompts.c.project_id == project_id)
    with session.snapshot():
        if after is not None:
            last = session.one(_PLACE, {"project_id": project_id, "id": after})
            if last is None:
                raise _unknown_after(after)
            statement = statement.where(prompts.c.seq > last[0] if ascending else prompts.c.seq < last[0])
        order = prompts.c.seq.asc() if ascending else prompts.c.seq.desc()
        rows = session.select(statement.order_by(order).limit(limit + 1))
    return Page([StoredPrompt(*row) for row in rows[:limit]], has_more=len(rows) > limit)


def _rename(session: DatabaseSession, batch: Sequence[tuple[str, str, str]]) -> list[bool]:
    return [
        session.run(_RENAME, {"project_id": project, "id": prompt, "new_name": name}) > 0
        for project, prompt, name in batch
    ]


def _delete(session: DatabaseSession, batch: Sequence[tuple[str, str]]) -> list[bool]:
    return [session.run(_DELETE, {"project_id": project, "id": prompt}) > 0 for project, prompt in batch]


def _publish(session: DatabaseSession, batch: Sequence[tuple[str, str, int]]) -> list[bool]:
    return [
        session.run(_PUBLISH, {"project_id": project, "id": prompt, "number": number}) > 0
        for project, prompt, number in batch
    ]


def _get_version(session: DatabaseSession, project_id: str, prompt_id: str, number: int) -> StoredPromptVersion | None:
    row = session.one(_GET_VERSION, {"project_id": project_id, "id": prompt_id, "number": number})
    return StoredPromptVersion(*row) if row else None


def _list_versions(
    session: DatabaseSession, project_id: str, prompt_id: str, after: int | None, limit: int, ascending: bool
) -> Page[StoredPromptVersion]:
    number = versions.c.version
    statement = select(*_VERSION).where(versions.c.project_id == project_id, versions.c.prompt_id == prompt_id)
    if after is not None:
        statement = statement.where(number > after if ascending else number < after)
    rows = session.select(statement.order_by(number.asc() if ascending else number.desc()).limit(limit + 1))
    return Page([StoredPromptVersion(*row) for row in rows[:limit]], has_more=len(rows) > limit)


def _unknown_after(after: str) -> NotFound:
    return NotFound(f"No prompt with id '{after[:100]}' found.", param="after")
