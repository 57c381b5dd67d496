"""Runs grammars without a model: over single bytes, by the library that llama.cpp does it with over tokens."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from antiphon.engines.schemas.enforce import compile_schema, normalised
from antiphon.engines.schemas.guidance import Matcher

_END = 256


def json_rule(schema: Mapping[str, Any]) -> str:
    """The rule for JSON that fits a schema, as the engine has it."""
    made = compile_schema(normalised(schema), strict=True, arguments=False)
    assert not made.dropped
    return f"%lark {{\n{made.grammar}}}"


def matcher_of(grammar: str) -> Matcher:
    """A matcher for a grammar that compiles."""
    matcher = Matcher(grammar.removeprefix("%llguidance {}\n"))
    assert not matcher.problem, matcher.problem
    return matcher


def accepts(grammar: str, text: str) -> bool:
    """Whether an answer may be `text`."""
    matcher, data = matcher_of(grammar), text.encode()
    return matcher.take(data) == len(data) and matcher.complete


def wander(grammar: str, seed: int, *, nudge: str = "", most: int = 400, ends: float = 0.5) -> tuple[str, bool]:
    """A random answer under `grammar` and whether it came to an end; it follows `nudge` as long as that is allowed.

    `ends`: how likely it ends where it may.
    """
    drawn = random.Random(seed)
    matcher, wanted, out = matcher_of(grammar), list(nudge.encode()), bytearray()
    while len(out) < most:
        allowed = matcher.allowed()
        assert allowed, f"the grammar leads nowhere after {bytes(out)!r}"
        if wanted and wanted[0] in allowed:
            token = wanted.pop(0)
        elif _END in allowed and (wanted or drawn.random() < ends or allowed == [_END]):
            return out.decode("utf-8", "replace"), True
        else:
            wanted = []
            printable = [token for token in allowed if 32 <= token < 127]
            token = drawn.choice(printable or [token for token in allowed if token != _END])
        assert matcher.take(bytes([token])) == 1
        out.append(token)
    return out.decode("utf-8", "replace"), False
