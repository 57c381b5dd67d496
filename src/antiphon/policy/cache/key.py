"""What makes two generations equal, so that one answer will do for both."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Iterable, Mapping
from itertools import takewhile
from typing import Any

import msgspec

from antiphon.domain import limits
from antiphon.policy.call import GenerationContext
from antiphon.protocol.generation import (
    AudioPart,
    FilePart,
    Generation,
    ImagePart,
    Message,
    Part,
    Passthrough,
    ToolCall,
    ToolResult,
    Turn,
)

#: Another number whenever keys or bodies come to mean something else: what was kept before is then not found.
_FORMAT = 1
_ENCODER = msgspec.msgpack.Encoder(order="deterministic")
#: Tools that the client runs: calling one does nothing by itself. All others act where the answer is made.
_RUN_BY_CLIENT = frozenset({"function", "custom"})
#: What only an engine of the same surface can do; the neutral exchange has no word for it.
_NATIVE_ONLY = ("audio", "web_search_options", "moderation", "mcp_servers")


class Keys:
    """Keys that tell nothing: keyed hashes of what was asked, under a key of this server's own."""

    def __init__(self, server_secret: bytes) -> None:
        self._secret = hmac.digest(server_secret, b"antiphon cached answers", "sha256")

    async def key(self, context: GenerationContext) -> bytes:
        """32 bytes, equal for equal generations of one project on one route.

        Several of one call that are equal (the choices of a chat completion) are meant to differ: each has its own key.
        """
        project_id, route = context.call.project_id, context.route
        generation = _canonical(context.generation)
        content = _ENCODER.encode((_FORMAT, project_id, route.name, _targets(context), generation))
        if len(content) > limits.MIB:
            # Images, files: others need not wait for those.
            asked = await asyncio.to_thread(self._digest, content)
        else:
            asked = self._digest(content)
        context.cache_key = asked
        # In the order of their context, whichever comes here first: the second choice is the second again.
        earlier = takewhile(lambda each: each is not context, context.call.generations)
        ordinal = sum(_is_twin(each, asked) for each in earlier)
        return self._digest(b"%b %d" % (asked, ordinal)) if ordinal else asked

    def _digest(self, content: bytes) -> bytes:
        return hmac.digest(self._secret, content, "sha256")


def _is_twin(earlier: GenerationContext, asked: bytes) -> bool:
    """Whether an earlier generation of the call is equal to the one that `asked` stands for.

    One that was refused does not count: it is asked again as it was. What is begun beside it and has no key yet is
    another choice of the same completion.
    """
    if earlier.error is not None:
        return False
    return earlier.cache_key == asked or (earlier.cache_key is None and not earlier.finished)


def cacheable(generation: Generation) -> bool:
    """Whether an answer to this may be given again, and may be asked for without the request's own words."""
    return not generation.progress and (generation.passthrough is None or _neutral(generation.passthrough))


def _neutral(passthrough: Passthrough) -> bool:
    """Whether nothing of the request is lost in the neutral exchange, and no tool acts on the way to its answer."""
    if passthrough.only:
        return False
    body = passthrough.body
    tools = body.get("tools") or ()
    if any(not isinstance(tool, Mapping) or tool.get("type") not in _RUN_BY_CLIENT for tool in tools):
        return False
    if "audio" in (body.get("modalities") or ()):
        return False
    return not any(body.get(name) for name in _NATIVE_ONLY)


def _targets(context: GenerationContext) -> list[tuple[str, str | None]]:
    """What may answer: with other targets behind its name, a route gives other answers."""
    spec = context.route.spec
    return [] if spec is None else [(target.upstream, target.model) for target in (*spec.targets, *spec.fallbacks)]


def _canonical(generation: Generation) -> Generation:
    """What the answer depends on, and nothing else."""
    return msgspec.structs.replace(
        generation,
        turns=tuple(_turns(generation.turns)),
        passthrough=None,
        streamed=True,
        affinity=None,
        track=False,
        batches=False,
        tier=None,
        user=None,
        safety_identifier=None,
        headers={},
    )


def _turns(turns: Iterable[Turn]) -> Iterable[Turn]:
    """The turns without where they stood in the request, and with calls named in order instead of by random ids."""
    names: dict[str, str] = {}
    for turn in turns:
        if isinstance(turn, Message):
            yield _message(turn)
        elif isinstance(turn, ToolCall | ToolResult):
            name = names.setdefault(turn.call_id, str(len(names)))
            yield msgspec.structs.replace(turn, call_id=name)
        else:
            yield turn


def _message(message: Message) -> Message:
    if not any(isinstance(part, ImagePart | FilePart | AudioPart) for part in message.parts):
        return message
    return msgspec.structs.replace(message, parts=tuple(map(_part, message.parts)))


def _part(part: Part) -> Part:
    changes: dict[str, Any] = {"path": ""}
    return msgspec.structs.replace(part, **changes) if isinstance(part, ImagePart | FilePart | AudioPart) else part
