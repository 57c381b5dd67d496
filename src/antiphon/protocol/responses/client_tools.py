"""Tools that the client runs: offered to any model as functions, and called in the words of their own types.

The Responses API has more kinds of such tools than functions and custom tools: functions in a `namespace`, `shell`,
`local_shell`, `apply_patch` and `tool_search`. A model of ours knows functions only. So each is offered as a function
with the parameters that its call needs, and what the model then calls is shown as the item that the client waits for.
What they answer are items too, which `item_types` shows to the model as the results of those functions.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from antiphon.domain import limits
from antiphon.protocol.generation import JsonSchema, Tool
from antiphon.protocol.responses.objects import Json

#: Types of tools that are one tool each, without a name of their own.
SINGLE: Final = frozenset({"shell", "local_shell", "apply_patch", "tool_search"})


def _object(**properties: JsonSchema) -> JsonSchema:
    """An object with these members, as strict mode wants it: all of them, and no others."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


_TEXT: Final[JsonSchema] = {"type": "string"}
_TEXTS: Final[JsonSchema] = {"type": "array", "items": _TEXT, "minItems": 1}
_MILLISECONDS: Final[JsonSchema] = {"type": ["integer", "null"]}


def _operation_schema(kind: str, **properties: JsonSchema) -> JsonSchema:
    return _object(type={"type": "string", "enum": [kind]}, path=_TEXT, **properties)


_DESCRIPTIONS: Final = {
    "shell": "Runs shell commands on the user's machine, one after the other, and returns what they print.",
    "local_shell": "Runs one program with its arguments on the user's machine, and returns what it prints.",
    "apply_patch": (
        "Creates, changes or deletes one file. 'diff' of update_file: a V4A diff (lines that begin with '@@', ' ', '-' "
        "or '+'); of create_file: the new lines, each after a '+'."
    ),
    "tool_search": "Looks for more tools that can be called afterwards.",
}
_PARAMETERS: Final[Mapping[str, JsonSchema]] = {
    "shell": _object(commands=_TEXTS, timeout_ms=_MILLISECONDS),
    "local_shell": _object(command=_TEXTS, working_directory={"type": ["string", "null"]}, timeout_ms=_MILLISECONDS),
    "apply_patch": _object(
        operation={
            "anyOf": [
                _operation_schema("create_file", diff=_TEXT),
                _operation_schema("update_file", diff=_TEXT),
                _operation_schema("delete_file"),
            ]
        }
    ),
    "tool_search": _object(query=_TEXT),
}


class Form(msgspec.Struct, frozen=True):
    """How calls of an offered tool are shown: as an item of this kind, with these names.

    `kind` is the item's type without `_call` ("function" and "custom" are told apart by the call itself).
    """

    kind: Literal["function", "shell", "local_shell", "apply_patch", "tool_search"]
    name: str
    namespace: str | None = None

    @property
    def whole(self) -> bool:
        """Whether an item of this kind is shown when its call is complete: it has no arguments that could grow."""
        return self.kind != "function"


def function_name(name: str, namespace: str | None) -> str:
    """The name under which a function of a namespace is offered. The same pair always has the same name."""
    if namespace is None:
        return name
    joint = "" if namespace.endswith("__") else "__"
    flat = re.sub(r"[^a-zA-Z0-9_-]", "_", f"{namespace}{joint}{name}")
    if len(flat) <= limits.MAX_FUNCTION_NAME:
        return flat
    digest = hashlib.sha256(f"{namespace}\0{name}".encode()).hexdigest()[:8]
    return f"{flat[: limits.MAX_FUNCTION_NAME - 9]}_{digest}"


def single(tool: Json) -> Tool | None:
    """A tool of one of the `SINGLE` types as a function; None if it is not for the client to run, or not to be shown.

    `shell` may run in a container of the server. A search of tools by the server is not needed: they are all shown.
    """
    kind = tool["type"]
    if kind == "tool_search":
        if tool.get("execution") != "client":
            return None
        parameters = tool.get("parameters")
        description = tool.get("description") or _DESCRIPTIONS[kind]
        return Tool(kind, description, parameters or _PARAMETERS[kind], strict=parameters is None)
    return Tool(kind, _DESCRIPTIONS[kind] + _skills(tool), _PARAMETERS[kind], strict=True)


def _skills(tool: Json) -> str:
    """What a shell's environment says of the skills that lie in it."""
    skills = (tool.get("environment") or {}).get("skills") or []
    lines = [f"- {skill['name']} ({skill['path']}): {skill['description']}" for skill in skills]
    return "\n".join(("\nSkills are described in files, to be read before they are used:", *lines)) if lines else ""


def runs_here(tool: Json) -> bool:
    """Whether a shell is the client's: without an environment, or in its own."""
    environment = tool.get("environment")
    return not environment or environment["type"] == "local"


def unlike(used: Iterable[str], name: str) -> str:
    """`name`, or the first of its numbered kind that is not among `used`."""
    names = set(used)
    free, number = name, 2
    while free in names:
        free, number = f"{name[: limits.MAX_FUNCTION_NAME - 4]}_{number}", number + 1
    return free


# --- calls as items ---------------------------------------------------------------------------------------------------
def arguments_of(kind: str, text: str) -> Json | None:
    """What a call of a tool of that kind says, from the arguments that the model gave; None if they do not fit."""
    try:
        given = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return None
    if not isinstance(given, dict):
        return None
    if kind == "tool_search":
        return given
    if kind == "apply_patch":
        return _operation(given.get("operation"))
    name = "commands" if kind == "shell" else "command"
    commands = given.get(name)
    if not isinstance(commands, list) or not all(isinstance(command, str) for command in commands):
        return None
    timeout = given.get("timeout_ms")
    timeout = timeout if isinstance(timeout, int) and not isinstance(timeout, bool) and timeout > 0 else None
    if kind == "shell":
        return {"commands": commands, "timeout_ms": timeout, "max_output_length": None}
    directory = given.get("working_directory")
    return {
        "type": "exec",
        "command": commands,
        "env": {},
        "timeout_ms": timeout,
        "working_directory": directory if isinstance(directory, str) else None,
        "user": None,
    }


def _operation(given: Any) -> Json | None:
    if not isinstance(given, dict):
        return None
    kind, path, diff = given.get("type"), given.get("path"), given.get("diff")
    if not isinstance(path, str):
        return None
    if kind == "delete_file":
        return {"type": kind, "path": path}
    if kind not in {"create_file", "update_file"} or not isinstance(diff, str):
        return None
    return {"type": kind, "path": path, "diff": diff}


def item(kind: str, item_id: str, status: str, call_id: str, said: Json) -> Json:
    """The item that shows a call of a tool of one of the `SINGLE` types. `said`: see `arguments_of`."""
    base = {"id": item_id, "type": f"{kind}_call", "status": status, "call_id": call_id}
    if kind == "tool_search":
        return {**base, "execution": "client", "arguments": said}
    if kind == "apply_patch":
        # Its status has no "incomplete" (published specification).
        return {**base, "operation": said}
    if kind == "shell":
        return {**base, "action": said, "environment": {"type": "local"}}
    return {**base, "action": said}


# --- how they are chosen ----------------------------------------------------------------------------------------------
def offered_names(choice: Json, tools: Sequence[Tool], forms: Mapping[str, Form]) -> list[str]:
    """The offered names of the tools that `{"type": "function", "name": …}`, `{"type": "shell"}` and the like mean."""
    kind, name = choice.get("type"), choice.get("name")
    if kind in SINGLE:
        return [offered for offered, form in forms.items() if form.kind == kind]
    if kind == "namespace":
        return [offered for offered, form in forms.items() if form.namespace == name]
    namespace = choice.get("namespace")
    if namespace is None and any(tool.name == name and tool.name not in forms for tool in tools):
        return [str(name)]
    return [
        offered
        for offered, form in forms.items()
        if form.kind == "function" and form.name == name and namespace in {None, form.namespace}
    ]
