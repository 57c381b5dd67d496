"""Control tokens, read from small GGUF heads."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from antiphon.engines.llama.vocabulary import control_tokens


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def head(tokens: list[str], types: list[int]) -> bytes:
    pairs = [
        text("general.name") + struct.pack("<I", 8) + text("tiny"),
        text("some.number") + struct.pack("<If", 6, 1.5),
        text("merges") + struct.pack("<IIQ", 9, 8, 2) + text("a b") + text("b c"),
        text("scores") + struct.pack("<IIQ2f", 9, 6, 2, 0.0, 1.0),
        text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, len(tokens)) + b"".join(map(text, tokens)),
        text("tokenizer.ggml.token_type") + struct.pack(f"<IIQ{len(types)}i", 9, 5, len(types), *types),
    ]
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)) + b"".join(pairs)


def test_control_and_unknown_tokens_are_found(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(head(["a", "<|end|>", "<unk>", "<tool>", "<0x0A>", "<｜x｜>"], [1, 3, 2, 4, 6, 3]))
    assert control_tokens(file) == ["<|end|>", "<unk>", "<｜x｜>"]


@pytest.mark.parametrize("content", [b"no model at all, but long enough", head(["a"], [3])[:60]])
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="GGUF"):
        control_tokens(file)
