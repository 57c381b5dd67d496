"""Input tokens as servers that speak Chat Completions count them, where they do; else our estimate."""

from __future__ import annotations

from typing import Any

import msgspec

from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError
from antiphon.domain.routing import Deadlines
from antiphon.engines.upstream.chat.request import messages_of, tools_of
from antiphon.engines.upstream.client import UpstreamClient
from antiphon.engines.upstream.profiles import Profile
from antiphon.engines.upstream.tokens import estimate
from antiphon.protocol.generation import Generation

_DEADLINES = Deadlines(connect=2.0, first=limits.UPSTREAM_COUNT, whole=limits.UPSTREAM_COUNT)


class _Prompt(msgspec.Struct):
    prompt: str


class _Tokens(msgspec.Struct):
    tokens: list[Any]


class _Count(msgspec.Struct):
    count: int


async def count(generation: Generation, client: UpstreamClient, profile: Profile, model: str) -> int:
    """Input tokens, as exactly as they can be had."""
    try:
        if profile.counting == "llama":
            return await _llama(generation, client, profile)
        if profile.counting == "vllm":
            return await _vllm(generation, client, profile, model)
    except (AntiphonError, msgspec.DecodeError, UnicodeDecodeError):
        pass  # a proxy before the server, perhaps, that has none of these endpoints
    return estimate(generation)


async def _llama(generation: Generation, client: UpstreamClient, profile: Profile) -> int:
    """llama.cpp's server renders a conversation, and splits the text, in two steps."""
    rendered = await _ask(client, "../apply-template", _conversation(generation, profile))
    prompt = msgspec.json.decode(rendered, type=_Prompt).prompt
    split = await _ask(client, "../tokenize", {"content": prompt, "add_special": True, "parse_special": True})
    return len(msgspec.json.decode(split, type=_Tokens).tokens)


async def _vllm(generation: Generation, client: UpstreamClient, profile: Profile, model: str) -> int:
    body = {"model": model, "add_generation_prompt": True, **_conversation(generation, profile)}
    return msgspec.json.decode(await _ask(client, "../tokenize", body), type=_Count).count


def _conversation(generation: Generation, profile: Profile) -> dict[str, Any]:
    return {"messages": messages_of(generation, profile), **tools_of(generation, profile)}


async def _ask(client: UpstreamClient, path: str, body: dict[str, Any]) -> bytes:
    reply = await client.post(path, msgspec.json.encode(body), stream=False, deadlines=_DEADLINES, repeatable=True)
    return await reply.body()
