"""Between a project's prompts in the database and a folder of them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec

from antiphon.cli import prompt_files
from antiphon.cli.prompt_files import PromptFile
from antiphon.domain import limits
from antiphon.domain.errors import SetupError
from antiphon.domain.ids import new_id
from antiphon.domain.records import StoredPrompt
from antiphon.ports import PromptStore

Json = dict[str, Any]


async def all_prompts(store: PromptStore, project_id: str) -> list[StoredPrompt]:
    """All prompts of a project, oldest first."""
    found: list[StoredPrompt] = []
    after: str | None = None
    while True:
        page = await store.list_prompts(project_id, after=after, limit=limits.MAX_PAGE, ascending=True)
        found += page.data
        if not page.has_more:
            return found
        after = page.data[-1].id


async def export_prompts(store: PromptStore, project_id: str, root: Path, *, published: bool) -> list[str]:
    """Write every prompt below `root`; a prompt that is there already keeps its folder. Returns a line for each."""
    folders, taken = prompt_files.look(root)
    lines = []
    for prompt in await all_prompts(store, project_id):
        version = prompt.published if published else prompt.latest
        if version is None:
            lines.append(f"{prompt.name}: nothing is published, not written")
            continue
        folder = folders.get(prompt.id)
        if folder is None:
            folder = root / prompt_files.folder_name(prompt.name, taken)
            taken.append(folder.name)
        prompt_files.write(folder, prompt.id, prompt.name, await _content(store, prompt, version))
        lines.append(f"{prompt.name}: version {version} written to {folder}")
    return lines


async def import_prompts(store: PromptStore, project_id: str, root: Path, *, publish: bool) -> list[str]:
    """Make prompts and versions of what is below `root`. Returns a line for each prompt.

    A prompt is found by its id, or by its name if the folder holds no id. Only a changed content becomes a new version.
    Everything is read and found before anything is changed. Raises `SetupError`.
    """
    files = prompt_files.read_all(root)
    known = await all_prompts(store, project_id)
    pairs = [(file, _find(file, known)) for file in files]
    return [await _import(store, project_id, file, prompt, publish=publish) for file, prompt in pairs]


def _find(file: PromptFile, known: list[StoredPrompt]) -> StoredPrompt | None:
    if file.id is not None:
        return next((prompt for prompt in known if prompt.id == file.id), None)
    named = [prompt for prompt in known if prompt.name == file.name]
    if len(named) > 1:
        raise SetupError(
            f"The project has {len(named)} prompts named '{file.name}': write the \"id\" of one into prompt.json."
        )
    return named[0] if named else None


async def _import(
    store: PromptStore, project_id: str, file: PromptFile, prompt: StoredPrompt | None, *, publish: bool
) -> str:
    body = msgspec.json.encode(file.content)
    now = int(time.time())
    if prompt is None:
        new = StoredPrompt(project_id, file.id or new_id("pmpt_"), file.name, now, 1 if publish else None, 1)
        await store.create_prompt(new, body)
        return f"{file.name}: created as {new.id}, version 1{_published(publish)}"
    if prompt.name != file.name:
        await store.rename_prompt(project_id, prompt.id, file.name)
    if await _content(store, prompt, prompt.latest) != file.content:
        number = await store.add_prompt_version(project_id, prompt.id, body, created_at=now, publish=publish)
        return f"{file.name}: version {number} made{_published(publish)}"
    if publish and prompt.published != prompt.latest:
        await store.publish_prompt(project_id, prompt.id, prompt.latest)
        return f"{file.name}: unchanged, version {prompt.latest} published"
    return f"{file.name}: unchanged"


async def _content(store: PromptStore, prompt: StoredPrompt, version: int) -> Json:
    found = await store.get_prompt_version(prompt.project_id, prompt.id, version)
    if found is None:
        raise SetupError(f"The prompt '{prompt.name}' was deleted meanwhile.")
    content: Json = msgspec.json.decode(found.body)
    return content


def _published(publish: bool) -> str:
    return " and published" if publish else ""
