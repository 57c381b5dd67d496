"""A chat completion that an upstream says in our own words: passed on as it comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import msgspec

from antiphon.domain.errors import EngineFailed
from antiphon.policy.call import Call
from antiphon.protocol.events import Event, Passed
from antiphon.protocol.generation import Delta, Finish, NativeDelta
from antiphon.run.driver import Machine, as_fault

Stream = AsyncGenerator[Delta, None]


class _Shown(msgspec.Struct):
    id: str = ""


async def relayed(
    call: Call, machine: Machine, first: NativeDelta, stream: Stream
) -> AsyncGenerator[Sequence[Event | Passed], None]:
    """The chunks, from the first one on. If the upstream breaks, the machine says so in its own way."""
    call.object_id = _id(first)
    yield [Passed(first.data)]
    finished = False
    try:
        async for delta in stream:
            if isinstance(delta, NativeDelta):
                yield [Passed(delta.data)]
            else:
                finished = isinstance(delta, Finish)
        if not finished:
            raise _unfinished()
    except Exception as error:
        fault = as_fault(error)
    else:
        return
    yield [*machine.fault(fault)]


async def whole(call: Call, first: NativeDelta, stream: Stream) -> bytes:
    """The completion as the upstream has made it, once it is known to be whole. Raises what broke it."""
    call.object_id = _id(first)
    finished = False
    async for delta in stream:
        finished = isinstance(delta, Finish)
    if not finished:
        raise _unfinished()
    return first.data


def _id(delta: NativeDelta) -> str:
    """The upstream's id, as the client sees it."""
    return msgspec.json.decode(delta.data, type=_Shown).id


def _unfinished() -> EngineFailed:
    return EngineFailed("The model ended its answer without saying that it was finished.")
