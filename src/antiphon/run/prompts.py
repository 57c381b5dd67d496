"""Prompts: kept in numbered versions, published, and put into requests."""

from __future__ import annotations

from typing import Any

import msgspec

from antiphon.domain.errors import InvalidRequest, NotFound
from antiphon.domain.ids import new_id
from antiphon.domain.records import Page, StoredPrompt, StoredPromptVersion
from antiphon.ports import Clock, PromptStore
from antiphon.protocol import prompts as rules
from antiphon.protocol.refusals import check_id

Json = dict[str, Any]

#: Version numbers have no more digits (they are 32 bits wide in the database).
_MAX_DIGITS = 9


class Prompts:
    """The prompts of every project."""

    def __init__(self, store: PromptStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    # --- in a request -------------------------------------------------------------------------------------------------
    async def resolve(self, project_id: str, body: Json) -> Json:
        """A request's body with its prompt put in; the same body if it names none.

        Raises `NotFound` (params `prompt.id`, `prompt.version`), and `InvalidRequest` for a prompt of which nothing is
        published and for variables.
        """
        asked = body.get("prompt")
        if not asked:
            return body
        prompt = await self._store.get_prompt(project_id, check_id(asked["id"], "pmpt_", "prompt.id"))
        if prompt is None:
            raise _no_prompt(asked["id"], "prompt.id")
        number = prompt.published
        if asked.get("version") is not None:
            number = _number(prompt.id, asked["version"], "prompt.version")
        if number is None:
            raise InvalidRequest(
                f"No version of the prompt '{prompt.id}' is published: publish one, or name a 'version'.",
                code="prompt_not_published",
                param="prompt.version",
            )
        version = await self._version(project_id, prompt.id, number, "prompt.version")
        return rules.resolve(body, msgspec.json.decode(version.body), version.version)

    # --- prompts ------------------------------------------------------------------------------------------------------
    async def create(self, project_id: str, body: object) -> StoredPrompt:
        """Add a prompt with its first version, published unless `publish` is false. Raises `InvalidRequest`."""
        members = rules.check_members(body, "name", "publish")
        prompt = StoredPrompt(
            project_id=project_id,
            id=new_id("pmpt_"),
            name=rules.check_name(members["name"]),
            created_at=int(self._clock.now()),
            published=1 if members.get("publish", True) else None,
            latest=1,
        )
        await self._store.create_prompt(prompt, msgspec.json.encode(rules.template(members)))
        return prompt

    async def get(self, project_id: str, prompt_id: str) -> StoredPrompt:
        """A prompt. Raises `NotFound`."""
        prompt = await self._store.get_prompt(project_id, prompt_id)
        if prompt is None:
            raise _no_prompt(prompt_id, "prompt_id")
        return prompt

    async def page(self, project_id: str, *, after: str | None, limit: int, ascending: bool) -> Page[StoredPrompt]:
        """A page of prompts by time of creation. Raises `NotFound` for an unknown `after`."""
        return await self._store.list_prompts(project_id, after=after, limit=limit, ascending=ascending)

    async def rename(self, project_id: str, prompt_id: str, name: str) -> StoredPrompt:
        """Change a prompt's name. Raises `InvalidRequest`, `NotFound`."""
        if not await self._store.rename_prompt(project_id, prompt_id, rules.check_name(name)):
            raise _no_prompt(prompt_id, "prompt_id")
        return await self.get(project_id, prompt_id)

    async def delete(self, project_id: str, prompt_id: str) -> None:
        """Delete a prompt and all its versions. Raises `NotFound`."""
        if not await self._store.delete_prompt(project_id, prompt_id):
            raise _no_prompt(prompt_id, "prompt_id")

    # --- versions -----------------------------------------------------------------------------------------------------
    async def add_version(self, project_id: str, prompt_id: str, body: object) -> StoredPromptVersion:
        """Add a version, and publish it if `publish` is true. Raises `InvalidRequest`, `NotFound`."""
        await self.get(project_id, prompt_id)
        members = rules.check_members(body, "publish")
        content = msgspec.json.encode(rules.template(members))
        now = int(self._clock.now())
        number = await self._store.add_prompt_version(
            project_id, prompt_id, content, created_at=now, publish=members.get("publish", False)
        )
        if number is None:
            raise _no_prompt(prompt_id, "prompt_id")
        return StoredPromptVersion(prompt_id, number, now, content)

    async def get_version(self, project_id: str, prompt_id: str, version: str) -> StoredPromptVersion:
        """A version. Raises `NotFound`."""
        await self.get(project_id, prompt_id)
        return await self._version(project_id, prompt_id, _number(prompt_id, version, "version"), "version")

    async def versions(
        self, project_id: str, prompt_id: str, *, after: str | None, limit: int, ascending: bool
    ) -> Page[StoredPromptVersion]:
        """A page of versions by number. Raises `NotFound` for the prompt, and for an `after` that is no version."""
        await self.get(project_id, prompt_id)
        number = None
        if after is not None:
            number = _number(prompt_id, after, "after")
            await self._version(project_id, prompt_id, number, "after")
        return await self._store.list_prompt_versions(
            project_id, prompt_id, after=number, limit=limit, ascending=ascending
        )

    async def publish(self, project_id: str, prompt_id: str, version: str) -> StoredPrompt:
        """Make a version the one that answers; an older one rolls back. Raises `NotFound`."""
        await self.get(project_id, prompt_id)
        if not await self._store.publish_prompt(project_id, prompt_id, _number(prompt_id, version, "version")):
            raise _no_version(prompt_id, version, "version")
        return await self.get(project_id, prompt_id)

    async def _version(self, project_id: str, prompt_id: str, number: int, param: str) -> StoredPromptVersion:
        version = await self._store.get_prompt_version(project_id, prompt_id, number)
        if version is None:
            raise _no_version(prompt_id, str(number), param)
        return version


def _number(prompt_id: str, version: str, param: str) -> int:
    """A version's number as clients write it: "1", "2", …"""
    if not (version.isascii() and version.isdigit() and version[0] != "0" and len(version) <= _MAX_DIGITS):
        raise _no_version(prompt_id, version, param)
    return int(version)


def _no_prompt(prompt_id: str, param: str) -> NotFound:
    return NotFound(f"Prompt with id '{prompt_id[:100]}' not found.", code="prompt_not_found", param=param)


def _no_version(prompt_id: str, version: str, param: str) -> NotFound:
    return NotFound(
        f"Prompt '{prompt_id}' has no version '{version[:100]}'.", code="prompt_version_not_found", param=param
    )
