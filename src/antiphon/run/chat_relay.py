"""A chat completion that an upstream says in our own words: passed on as it comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import TypeGuard

import msgspec

from antiphon.domain.errors import EngineFailed
from antiphon.domain.texts import label
from antiphon.policy.call import Call
from antiphon.protocol.events import Event, Passed
from antiphon.protocol.generation import Batch, Delta, Finish, PassthroughDelta
from antiphon.run.driver import Machine, as_fault

Stream = AsyncGenerator[Delta, None]


class _Shown(msgspec.Struct):
    id: str = ""


async def relayed(
    call: Call, machine: Callable[[], Machine], first: PassthroughDelta | Batch, stream: Stream
) -> AsyncGenerator[Sequence[Event | Passed], None]:
    """The chunks, from the first one on. If the upstream breaks, the machine is made, and says so in its own way."""
    call.object_id = _id(first)
    yield _passed(first)
    finished = False
    try:
        async for delta in stream:
            finished = isinstance(delta, Finish)
            if events := _passed(delta):
                yield events
        if not finished:
            raise _unfinished()
    except Exception as error:
        fault = as_fault(error)
    else:
        return
    yield [*machine().fault(fault)]


def is_passthrough(delta: Delta | None) -> TypeGuard[PassthroughDelta | Batch]:
    """Whether an answer that begins so is in the surface's own words."""
    return isinstance(delta, PassthroughDelta) or (
        isinstance(delta, Batch) and isinstance(delta.deltas[0], PassthroughDelta)
    )


def _passed(delta: Delta) -> list[Passed]:
    if isinstance(delta, PassthroughDelta):
        return [Passed(delta.data)]
    if isinstance(delta, Batch):
        return [Passed(each.data) for each in delta.deltas if isinstance(each, PassthroughDelta)]
    return []


async def whole(call: Call, first: PassthroughDelta | Batch, stream: Stream) -> bytes:
    """The completion as the upstream has made it, once it is known to be whole. Raises what broke it."""
    call.object_id = _id(first)
    async for delta in stream:
        if isinstance(delta, Finish):
            break
    else:
        raise _unfinished()
    return _passed(first)[0].data


def _id(first: Delta) -> str | None:
    """The upstream's id, as the client sees it; None for one that is none."""
    try:
        return label(msgspec.json.decode(_passed(first)[0].data, type=_Shown).id)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _unfinished() -> EngineFailed:
    return EngineFailed("The model ended its answer without saying that it was finished.")
