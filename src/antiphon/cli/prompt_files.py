"""A prompt as a folder of readable files.

    greeter/
      prompt.json           name, id, variables, defaults
      instructions.md       the instructions, if there are any
      messages/01-user.md   a message that is plain text
      messages/02-user.json any other message

A text's file ends in one line feed that is not part of the text, as editors want it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon.domain.errors import AntiphonError, InvalidRequest, SetupError
from antiphon.protocol import prompts as rules

Json = dict[str, Any]

_HEAD = "prompt.json"
_TEXT = "instructions.md"
_MESSAGES = "messages"
_MESSAGE = re.compile(r"\d+-(user|assistant|system|developer)\.(md|json)")


@dataclass(frozen=True, slots=True)
class PromptFile:
    """One prompt of a folder. `id` is None for a prompt that was written by hand."""

    id: str | None
    name: str
    content: Json


def write(folder: Path, prompt_id: str, name: str, content: Json) -> None:
    """Write a prompt into its folder, in place of what was there."""
    (folder / _MESSAGES).mkdir(parents=True, exist_ok=True)
    for old in _message_files(folder):
        old.unlink()
    (folder / _TEXT).unlink(missing_ok=True)
    if content["instructions"] is not None:
        _write_text(folder / _TEXT, content["instructions"])
    digits = max(2, len(str(len(content["messages"]))))
    for number, message in enumerate(content["messages"], start=1):
        stem = folder / _MESSAGES / f"{number:0{digits}}-{message['role']}"
        if set(message) == {"role", "content"} and isinstance(message["content"], str):
            _write_text(stem.with_suffix(".md"), message["content"])
        else:
            _write_text(stem.with_suffix(".json"), _pretty(message))
    if not content["messages"]:
        (folder / _MESSAGES).rmdir()
    head = {"id": prompt_id, "name": name, "variables": content["variables"], "defaults": content["defaults"]}
    _write_text(folder / _HEAD, _pretty(head))


def read_all(root: Path) -> list[PromptFile]:
    """All prompts below `root`, in the order of their folders' names. Raises `SetupError` that names the file."""
    if not root.is_dir():
        raise SetupError(f"There is no folder {root}.")
    folders = sorted(head.parent for head in root.glob(f"*/{_HEAD}"))
    if not folders:
        raise SetupError(f"There are no prompts in {root}: each is a folder with a file {_HEAD}.")
    found = [_read(folder) for folder in folders]
    for label, values in (("id", [prompt.id for prompt in found]), ("name", [prompt.name for prompt in found])):
        twice = next((value for value in values if value is not None and values.count(value) > 1), None)
        # Two prompts may have one name if ids tell them apart.
        if twice is not None and (label == "id" or any(p.id is None for p in found if p.name == twice)):
            raise SetupError(f"Two prompts in {root} have the {label} '{twice}'.")
    return found


def look(root: Path) -> tuple[dict[str, Path], list[str]]:
    """Which folder below `root` holds which prompt, by id, and all names that are taken there. `root` is made."""
    root.mkdir(parents=True, exist_ok=True)
    found = {}
    for head in sorted(root.glob(f"*/{_HEAD}")):
        prompt_id = _json(head).get("id")
        if isinstance(prompt_id, str):
            found[prompt_id] = head.parent
    return found, [path.name for path in root.iterdir()]


def folder_name(name: str, taken: Iterable[str]) -> str:
    """A name for a new prompt's folder, from the prompt's own and unlike those that are taken."""
    stem = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "prompt"
    used = {other.lower() for other in taken}
    number, candidate = 1, stem
    while candidate in used:
        number += 1
        candidate = f"{stem}-{number}"
    return candidate


def _read(folder: Path) -> PromptFile:
    head = _json(folder / _HEAD)
    prompt_id = head.pop("id", None)
    text = folder / _TEXT
    messages = [_message(path) for path in _message_files(folder)]
    body = {**head, "instructions": _read_text(text) if text.exists() else None, "messages": messages}
    try:
        if prompt_id is not None and not (isinstance(prompt_id, str) and re.fullmatch(r"pmpt_\w{1,200}", prompt_id)):
            raise InvalidRequest("Invalid 'id': a prompt's id is 'pmpt_' and letters or digits.", param="id")
        members = rules.check_members(body, "name")
        return PromptFile(prompt_id, rules.check_name(members["name"]), rules.template(members))
    except AntiphonError as error:
        raise SetupError(f"The prompt in {folder} is not right: {error.message}") from None


def _message_files(folder: Path) -> list[Path]:
    places = (folder / _MESSAGES).glob("*")
    return sorted(
        (path for path in places if _MESSAGE.fullmatch(path.name)),
        key=lambda path: (int(path.name.partition("-")[0]), path.name),
    )


def _message(path: Path) -> Json:
    found = _MESSAGE.fullmatch(path.name)
    assert found is not None
    if found[2] == "md":
        return {"role": found[1], "content": _read_text(path)}
    message = _json(path)
    if message.get("role") != found[1]:
        raise SetupError(f"The message in {path} has another role than its name says.")
    return message


def _json(path: Path) -> Json:
    try:
        value = json.loads(_read_text(path))
    except ValueError as error:
        raise SetupError(f"{path} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise SetupError(f"{path} must hold a JSON object.")
    return value


def _pretty(value: Json) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _write_text(path: Path, text: str) -> None:
    # As bytes: line ends stay as they are, on every system.
    path.write_bytes(f"{text}\n".encode())


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise SetupError(f"{path} is not UTF-8.") from None
    except OSError as error:
        raise SetupError(f"{path} cannot be read: {error.strerror}.") from None
