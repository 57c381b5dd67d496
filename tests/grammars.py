"""Runs grammars without a model: over single bytes, the way llama.cpp does it over tokens."""

from __future__ import annotations

import random
from collections.abc import Sequence

from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

_END = 256


class _Bytes:
    """The smallest vocabulary: each byte, and the end."""

    eos_token_id = _END
    bos_token_id = None
    tokens: Sequence[bytes] = [*(bytes([value]) for value in range(256)), b"\xff<end>"]

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


_TOKENIZER = LLTokenizer(TokenizerWrapper(_Bytes()))


def _matcher(grammar: str) -> LLMatcher:
    matcher = LLMatcher(_TOKENIZER, grammar.removeprefix("%llguidance {}\n"))
    assert not matcher.is_error(), matcher.get_error()
    return matcher


def accepts(grammar: str, text: str) -> bool:
    """Whether an answer may be `text`."""
    matcher = _matcher(grammar)
    data = list(text.encode())
    return bool(matcher.try_consume_tokens(data) == len(data) and matcher.is_accepting())


def wander(grammar: str, seed: int, *, nudge: str = "", most: int = 400) -> tuple[str, bool]:
    """A random answer under `grammar` and whether it came to an end; it follows `nudge` as long as that is allowed."""
    drawn = random.Random(seed)
    matcher, wanted, out = _matcher(grammar), list(nudge.encode()), bytearray()
    while len(out) < most:
        mask = matcher.compute_bitmask()
        assert not matcher.is_error(), matcher.get_error()
        allowed = [token for token in range(_END + 1) if mask[token // 8] >> (token % 8) & 1]
        if wanted and wanted[0] in allowed:
            token = wanted.pop(0)
        elif _END in allowed and (wanted or drawn.random() < 0.5 or allowed == [_END]):
            return out.decode("utf-8", "replace"), True
        else:
            wanted = []
            printable = [token for token in allowed if 32 <= token < 127]
            token = drawn.choice(printable or [token for token in allowed if token != _END])
        assert matcher.consume_token(token)
        out.append(token)
    return out.decode("utf-8", "replace"), False
