"""Trying a target: whether it can be reached, takes our secret, answers, and what it can do."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

import msgspec

from antiphon.domain.durations import milliseconds
from antiphon.domain.errors import AntiphonError
from antiphon.engines.routed.target import Target
from antiphon.protocol.generation import (
    CallStart,
    Delta,
    Finish,
    Generation,
    Message,
    OutputFormat,
    Sampling,
    TextDelta,
    TextPart,
    Tool,
    ToolChoice,
)

#: What is tried, in this order. The first four must work; the others are good to know.
CHECKS = ("reach", "secret", "answer", "stream", "tools", "schema", "usage")
_NEEDED = frozenset(CHECKS[:4])
#: Seconds that one check may take.
_PATIENCE = 60.0
#: Tokens of an answer. Servers of models that think refuse less than 16 (OpenAI), and need some to think.
_FEW = 16
_SOME = 512
_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


@dataclass
class ProbeReport:
    """What came of it. `checks`: by name, those that were made. `first_ms`: to the first piece of a stream."""

    checks: dict[str, bool] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    first_ms: int | None = None

    @property
    def failed(self) -> bool:
        """Whether something is missing that no route can do without."""
        return any(not self.checks.get(name, False) for name in _NEEDED)


async def probe(target: Target) -> ProbeReport:
    """Try everything. What does not work is a finding, never an error."""
    found = ProbeReport()
    hello = _asking(target, "Say hi.", max_tokens=_FEW)
    whole = await _attempt(found, "answer", target, msgspec.structs.replace(hello, streamed=False))
    if whole is None:
        return found
    found.checks.update(reach=True, secret=True)
    usage = whole[-1].usage if isinstance(whole[-1], Finish) else None
    began = time.monotonic()
    streamed = await _attempt(found, "stream", target, hello, first=lambda: _note_first(found, began))
    tool = Tool("get_weather", "The weather of a city.", _SCHEMA)
    calling = _asking(target, "What is the weather in Paris?", tools=(tool,), tool_choice=ToolChoice("required"))
    called = await _attempt(found, "tools", target, calling)
    if called is not None and not any(isinstance(delta, CallStart) for delta in called):
        _miss(found, "tools", "a tool had to be called, and none was")
    formatted = _asking(target, "Name a city.", output=OutputFormat("json_schema", "city", _SCHEMA, strict=True))
    formatted_answer = await _attempt(found, "schema", target, formatted)
    if formatted_answer is not None and not _is_city(formatted_answer):
        _miss(found, "schema", "the answer does not fit the schema that was asked for")
    counted = usage is not None and not usage.estimated and usage.input_tokens > 0
    last = streamed[-1] if streamed else None
    counted_streaming = isinstance(last, Finish) and not last.usage.estimated and last.usage.input_tokens > 0
    found.checks["usage"] = counted and counted_streaming
    if not counted or not counted_streaming:
        where = (
            "at all"
            if not counted and not counted_streaming
            else "with a whole answer"
            if not counted
            else "with a stream"
        )
        found.reasons.append(f"usage: the tokens used are not told {where}; they are estimated")
    return found


def _note_first(found: ProbeReport, began: float) -> None:
    found.first_ms = milliseconds(time.monotonic() - began)


def _asking(target: Target, text: str, *, max_tokens: int = _SOME, **more: object) -> Generation:
    return Generation(
        target.name.model,
        (Message("user", (TextPart(text),)),),
        sampling=Sampling(max_tokens=max_tokens),
        **more,  # type: ignore[arg-type]  # names and types are the callers'
    )


async def _attempt(
    found: ProbeReport, check: str, target: Target, generation: Generation, first: Callable[[], None] | None = None
) -> list[Delta] | None:
    """Everything that is said to it; None if it failed, with the reason noted."""
    deltas: list[Delta] = []
    try:
        async with asyncio.timeout(_PATIENCE):
            stream: AsyncGenerator[Delta, None] = await target.engine.generate(generation)
            async with aclosing(stream):
                async for delta in stream:
                    if not deltas and first is not None:
                        first()
                    deltas.append(delta)
    except AntiphonError as error:
        _blame(found, check, error)
        return None
    except TimeoutError:
        _miss(found, check, f"not done after {_PATIENCE:.0f} seconds")
        return None
    if not deltas or not isinstance(deltas[-1], Finish):
        _miss(found, check, "the answer ended without its end")
        return None
    found.checks[check] = True
    return deltas


def _miss(found: ProbeReport, check: str, reason: str) -> None:
    found.checks[check] = False
    found.reasons.append(f"{check}: {reason}")


def _blame(found: ProbeReport, check: str, error: AntiphonError) -> None:
    """Note at which step it failed: not reached, refused, or reached and not answered. Messages are ours."""
    if check == "answer" and error.code == "upstream_unreachable":
        check = "reach"
    elif check == "answer":
        found.checks["reach"] = error.code != "upstream_timeout"
        if error.code == "upstream_refused":
            check = "secret"
        elif found.checks["reach"]:
            found.checks["secret"] = True
    _miss(found, check, f"{error.message} ({error.code or error.type})")


def _is_city(deltas: list[Delta]) -> bool:
    text = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
    try:
        return isinstance(json.loads(text)["city"], str)
    except (ValueError, TypeError, KeyError):
        return False
