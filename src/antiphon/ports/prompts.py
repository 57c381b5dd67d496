"""Prompts and their versions."""

from __future__ import annotations

from typing import Protocol

from antiphon.domain.records import Page, StoredPrompt, StoredPromptVersion


class PromptStore(Protocol):
    """Prompts and their versions. Versions are numbered from 1 and never change."""

    async def create_prompt(self, prompt: StoredPrompt, body: bytes) -> None:
        """Add a prompt with its first version. Raises `Conflict` if the project has one with that id."""

    async def get_prompt(self, project_id: str, prompt_id: str) -> StoredPrompt | None:
        """The prompt, or None if this project has none of that id."""

    async def list_prompts(
        self, project_id: str, *, after: str | None, limit: int, ascending: bool
    ) -> Page[StoredPrompt]:
        """A page by time of creation. `after` is a prompt's id (unknown: raises `NotFound` with param "after")."""

    async def rename_prompt(self, project_id: str, prompt_id: str, name: str) -> bool:
        """Change the name; False if there is no such prompt."""

    async def delete_prompt(self, project_id: str, prompt_id: str) -> bool:
        """Delete a prompt and its versions; False if there was none."""

    async def add_prompt_version(
        self, project_id: str, prompt_id: str, body: bytes, *, created_at: int, publish: bool
    ) -> int | None:
        """Add the next version and publish it if asked. Returns its number; None if there is no such prompt."""

    async def publish_prompt(self, project_id: str, prompt_id: str, version: int) -> bool:
        """Make this version the one that answers; False if there is no such version."""

    async def get_prompt_version(self, project_id: str, prompt_id: str, version: int) -> StoredPromptVersion | None:
        """A version, or None if there is none of that number."""

    async def list_prompt_versions(
        self, project_id: str, prompt_id: str, *, after: int | None, limit: int, ascending: bool
    ) -> Page[StoredPromptVersion]:
        """A page by number, after number `after` in the order asked for."""
