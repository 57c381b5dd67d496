"""A model's control tokens, read from its GGUF file.

Text of a request that spells one (say `<|im_end|>`) must not become one. Only the file knows them all. This module
runs in the child, so it imports nothing of Antiphon; the format is described by the ggml project (docs/gguf.md).
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

_MAGIC = int.from_bytes(b"GGUF", "little")
_STRING, _ARRAY = 8, 9
_CODES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TOKENS, _TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
#: llama.cpp's LLAMA_TOKEN_TYPE_UNKNOWN and _CONTROL: what `parse_special` turns from text into tokens. User-defined
#: tokens (4) are made from text in any case, and bytes (6) and normal ones (1) are harmless.
_SPECIAL = frozenset({2, 3})


def control_tokens(model: Path) -> list[str]:
    """The texts of the control tokens of the GGUF file `model`, in the order of their ids; empty if it has none.

    Raises ValueError if the head of the file cannot be read.
    """
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as head:
        try:
            return _read(_Cursor(head))
        except (struct.error, KeyError, OverflowError) as error:
            raise ValueError("not a whole GGUF file") from error


def _read(cursor: _Cursor) -> list[str]:
    magic, _version, _tensors, pairs = cursor.unpack("IIQQ")
    if magic != _MAGIC:
        raise ValueError("not a GGUF file")
    tokens: list[bytes] = []
    types: tuple[int, ...] = ()
    for _ in range(pairs):
        key = cursor.string().decode("utf-8", "replace")
        (kind,) = cursor.unpack("I")
        if kind != _ARRAY:
            cursor.skip(kind, 1)
            continue
        element, count = cursor.unpack("IQ")
        if key == _TOKENS and element == _STRING:
            tokens = [cursor.string() for _ in range(count)]
        elif key == _TYPES:
            types = cursor.unpack(f"{count}{_CODES[element]}")
        else:
            cursor.skip(element, count)
        if tokens and types:
            break
    return [
        text
        for token, kind in zip(tokens, types, strict=False)
        if kind in _SPECIAL and (text := token.decode("utf-8", "replace"))
    ]


class _Cursor:
    """Reads forward through the mapped file; all numbers are little-endian."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 0

    def unpack(self, codes: str) -> tuple[int, ...]:
        values = struct.unpack_from("<" + codes, self._data, self._at)
        self._at += struct.calcsize("<" + codes)
        return values

    def string(self) -> bytes:
        (length,) = self.unpack("Q")
        self._at += length
        return self._data[self._at - length : self._at]

    def skip(self, kind: int, count: int) -> None:
        if kind == _STRING:
            for _ in range(count):
                (length,) = self.unpack("Q")
                self._at += length
        elif kind == _ARRAY:
            raise ValueError("nested arrays are not in use")
        else:
            self._at += count * struct.calcsize("<" + _CODES[kind])
