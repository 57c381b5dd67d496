"""What a request for a response touches beside its own endpoint: a key needs the scopes of that, too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from antiphon.domain.scopes import ANYTHING
from antiphon.domain.tenancy import Caller
from antiphon.policy.keys.permit import permit_scope

Json = dict[str, Any]


def permit_touched(caller: Caller, body: Json, *, writes: bool) -> None:
    """Raise `PermissionDenied` for a conversation, response, item or prompt that the key may not use.

    `writes`: what is said is added to the conversation.
    """
    if caller.permits is ANYTHING:
        return
    for scope in _scopes(body, writes=writes):
        permit_scope(caller, scope)


def _scopes(body: Json, *, writes: bool) -> Iterator[str]:
    if body.get("conversation") is not None:
        yield "conversations:read"
        if writes:
            yield "conversations:write"
    given = body.get("input")
    if body.get("previous_response_id") is not None or (isinstance(given, list) and any(map(_refers, given))):
        yield "responses:read"
    if body.get("prompt"):
        yield "prompts:read"


def _refers(item: Json) -> bool:
    """Whether an input item stands for one that is stored."""
    return item.get("type") == "item_reference" or not item.keys() & {"type", "role", "content"}
