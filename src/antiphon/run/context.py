"""What the model is shown: the chain before a response, the items it refers to, and what fits into the context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest, NotFound
from antiphon.ports import ConversationStore, Engine, ResponseStore
from antiphon.protocol.client_params import RESPONSES, with_client_param
from antiphon.protocol.generation import Generation, Message, ToolCall, ToolResult, Turn
from antiphon.protocol.responses import items as item_rules
from antiphon.protocol.suffix import longest_suffix_that_fits

Json = dict[str, Any]

#: Of the context, what `truncation: "auto"` keeps free for the answer when no `max_output_tokens` is given.
_ANSWER_SHARE = 4
#: Characters for each token of room that make a conversation a long one.
_LONG = 16
_ORDERS = ("system", "developer")


async def conversation(store: ConversationStore, project_id: str, conversation_id: str) -> list[Json]:
    """The items of a conversation, oldest first.

    Raises `NotFound`, and `InvalidRequest` (code "conversation_too_long"), both with param "conversation".
    """
    try:
        items = await store.conversation_history(project_id, conversation_id, limit=limits.MAX_CONVERSATION_ITEMS)
    except NotFound as error:
        raise with_client_param(error, RESPONSES) from None
    return _shown([item.body for item in items])


def check_new(items: Sequence[Json], before: Sequence[Json]) -> None:
    """Raise `InvalidRequest` for an input item whose id the conversation has already, or that stands there twice."""
    known = {item["id"] for item in before}
    for index, item in enumerate(items):
        if item["id"] in known:
            raise InvalidRequest(
                f"Duplicate item found with id '{item['id']}'. Remove duplicate items from your input and try again.",
                code="duplicate_item",
                param=f"input[{index}].id",
            )
        known.add(item["id"])


def _shown(bodies: Sequence[bytes]) -> list[Json]:
    """Stored items that the model can be shown."""
    return item_rules.whole(msgspec.json.decode(body) for body in bodies)


async def resolve(store: ResponseStore, project_id: str, items: Sequence[Json]) -> list[Json]:
    """Input items with their `item_reference`s replaced by the items they name."""
    wanted = item_rules.references(items)
    if not wanted:
        return list(items)
    stored = await store.get_items(project_id, wanted)
    return item_rules.resolve_references(
        items, {item_id: msgspec.json.decode(item.body) for item_id, item in stored.items()}
    )


def room(engine: Engine, generation: Generation) -> int:
    """Input tokens that leave place for the answer: for what it may have at most, or for a quarter of the context."""
    context = engine.capabilities.context_tokens
    return context - min(generation.sampling.max_tokens or context // _ANSWER_SHARE, context // 2)


async def fit(engine: Engine, build: Callable[[Sequence[Turn]], Generation], turns: Sequence[Turn]) -> Generation:
    """The generation over as much of the end of the conversation as the context holds (`truncation: "auto"`).

    Turns are dropped from the start, up to a user's message; if the last user's message and what follows do not fit,
    also the calls after it with their results, the oldest first. System and developer messages stay. If even the last
    message or the last calls do not fit, they are returned all the same: the engine then says how much too long it is.
    """
    most = room(engine, build(turns))
    last_user = max((index for index, turn in enumerate(turns) if _is(turn, "user")), default=-1)
    starts = _starts(turns, last_user)

    def ending(number: int) -> Generation:
        start = starts[number]
        stay = [turn for index, turn in enumerate(turns[:start]) if index == last_user or _is(turn, *_ORDERS)]
        return build([*stay, *turns[start:]])

    async def fits(number: int) -> bool:
        return await engine.count_tokens(ending(number)) <= most

    last = len(starts) - 1
    if sum(len(turn.text) for turn in turns if isinstance(turn, Message)) > most * _LONG:
        # Counting the whole would take longer than answering it.
        return ending(await longest_suffix_that_fits(last, fits, from_end=True))
    if await fits(0):
        return ending(0)
    return ending(await longest_suffix_that_fits(last, fits, first=min(1, last)))


def _starts(turns: Sequence[Turn], last_user: int) -> list[int]:
    """Where a shortened conversation may start, the whole one first: never between a call and its result."""
    starts = [0]
    waiting: set[str] = set()
    for index, turn in enumerate(turns):
        between = index > last_user >= 0 and isinstance(turn, ToolCall) and not waiting
        if index and (_is(turn, "user") or between):
            starts.append(index)
        if isinstance(turn, ToolCall):
            waiting.add(turn.call_id)
        elif isinstance(turn, ToolResult):
            waiting.discard(turn.call_id)
    return starts


def _is(turn: Turn, *roles: str) -> bool:
    return isinstance(turn, Message) and turn.role in roles
