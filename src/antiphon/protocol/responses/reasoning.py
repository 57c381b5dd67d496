"""Reasoning that a client keeps: sealed when it is handed out, opened when it comes back.

With `include: ["reasoning.encrypted_content"]` a reasoning item carries its own text in sealed form, so that a client
which stores nothing here can send it back, and a client which must not read it need not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from antiphon.domain.errors import InvalidRequest
from antiphon.domain.sealing import SealBroken, Sealer

Json = dict[str, Any]
Seal = Callable[[str], str]

_PURPOSE = "reasoning"


def seal_for(sealer: Sealer, project_id: str) -> Seal:
    """What makes `encrypted_content` of a reasoning text, for one project."""
    return lambda text: sealer.seal(project_id, _PURPOSE, text.encode())


def opened(sealer: Sealer, project_id: str, item: Json, path: str, number: int, *, foreign: bool = False) -> Json:
    """An item as the model is shown it: reasoning that was sealed here has its text. It stands at `path`[`number`].

    Raises `InvalidRequest` for input that was not sealed here for this project, or has been changed since, unless
    `foreign`: it may have been sealed by the server that gets it. What is stored may be of such a server in any case.
    """
    if item["type"] != "reasoning" or not item.get("encrypted_content") or (path != "input" and item.get("content")):
        return item
    try:
        text = sealer.open(project_id, _PURPOSE, item["encrypted_content"]).decode()
    except (SealBroken, UnicodeDecodeError):
        if foreign or path != "input":
            return item
        raise InvalidRequest(
            f"The encrypted content of item '{item['id']}' could not be verified. It was not made by this server for "
            "this project, or it has been changed.",
            code="invalid_encrypted_content",
            param=f"input[{number}].encrypted_content",
        ) from None
    if item.get("content"):
        return item
    # Nobody else could open it.
    shown = {name: value for name, value in item.items() if name != "encrypted_content"}
    return {**shown, "content": [{"type": "reasoning_text", "text": text}]}
