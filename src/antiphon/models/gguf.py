"""What a GGUF file says about itself: just enough to serve a file that no catalog knows.

The format is described by the ggml project (docs/gguf.md): the magic `GGUF`, a version, two counts, then
key-value pairs, all little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeGuard

from antiphon.domain.errors import SetupError

MAGIC = b"GGUF"
_STRING, _ARRAY = 8, 9
#: struct codes of the scalar value types.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
#: A file that claims more than this is broken (the largest vocabularies have about 300,000 tokens).
_MAX_PAIRS, _MAX_STRING, _MAX_ARRAY = 10_000, 8 * 1024 * 1024, 4_000_000
#: Layers, heads and widths that are possible; what is beyond is a lie of the file.
_MAX_COUNT = 2**31
#: Longer arrays are vocabularies, which are of no use here; a shorter one may say something of each layer.
_MAX_KEPT_ARRAY = 4096
#: Bytes of one number in the KV cache (llama.cpp's default, f16).
_KV_NUMBER = 2


@dataclass(frozen=True, slots=True)
class GgufInfo:
    """`trained_context`: tokens the model was trained for, if the file says. `knows_tools`: its chat template shows
    tools to the model. `kv_bytes`: what one token takes in the KV cache, if the file says; of models that keep less in
    some layers (a window, a state), the most that it can be."""

    trained_context: int | None
    kv_bytes: int | None
    knows_tools: bool


def read(path: Path) -> GgufInfo:
    """Read the head of the model file at `path`. Raises `SetupError` if it is missing or not a GGUF file."""
    try:
        with path.open("rb") as file:
            if file.read(4) != MAGIC:
                raise SetupError(f"{path} is not a GGUF file: it does not begin with 'GGUF'.")
            pairs = _pairs(file)
    except OSError as error:
        raise SetupError(f"The model file {path} cannot be read: {error.strerror}.") from error
    except (struct.error, ValueError, KeyError, UnicodeDecodeError) as error:
        raise SetupError(f"{path} is not a whole GGUF file: its head cannot be read.") from error
    numbers = _Numbers(pairs)
    context = numbers.one("context_length")
    template = pairs.get("tokenizer.chat_template", "")
    return GgufInfo(
        trained_context=context,
        kv_bytes=_kv_bytes(numbers),
        knows_tools=isinstance(template, str) and "tools" in template,
    )


class _Numbers:
    """The positive whole numbers that a file's pairs give for its architecture."""

    def __init__(self, pairs: dict[str, object]) -> None:
        self._pairs = pairs
        self._prefix = pairs.get("general.architecture", "")

    def one(self, name: str) -> int | None:
        """The number of that name, of an array the largest."""
        value = self._pairs.get(f"{self._prefix}.{name}")
        found = [number for number in (value if isinstance(value, tuple) else (value,)) if _is_count(number)]
        return max(found, default=None)

    def total(self, name: str, layers: int) -> int | None:
        """The sum over all layers: of an array its sum, of a number that many times the number."""
        value = self._pairs.get(f"{self._prefix}.{name}")
        if isinstance(value, tuple):
            return sum(number for number in value[:layers] if _is_count(number)) or None
        return value * layers if _is_count(value) else None


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 < value < _MAX_COUNT


def _kv_bytes(numbers: _Numbers) -> int | None:
    """Two vectors (key and value) for each layer and each of its key-value heads."""
    layers = numbers.one("block_count")
    heads = numbers.one("attention.head_count")
    width = numbers.one("embedding_length")
    if layers is None or heads is None or width is None:
        return None
    kv_heads = numbers.total("attention.head_count_kv", layers) or heads * layers
    key = numbers.one("attention.key_length") or width // heads
    value = numbers.one("attention.value_length") or width // heads
    return kv_heads * (key + value) * _KV_NUMBER


def _pairs(file: BinaryIO) -> dict[str, object]:
    """The key-value pairs; of arrays only short ones of numbers (a vocabulary is of no use here)."""
    _version, _tensors, count = _unpack(file, "IQQ")
    if count > _MAX_PAIRS:
        raise ValueError("too many pairs")
    pairs: dict[str, object] = {}
    for _ in range(count):
        key = _string(file).decode()
        (kind,) = _unpack(file, "I")
        pairs[key] = _value(file, kind)
    return pairs


def _value(file: BinaryIO, kind: int) -> object:
    if kind == _STRING:
        return _string(file).decode("utf-8", "replace")
    if kind == _ARRAY:
        return _array(file)
    return _unpack(file, _SCALARS[kind])[0]


def _array(file: BinaryIO) -> tuple[int, ...] | None:
    kind, count = _unpack(file, "IQ")
    if count > _MAX_ARRAY or kind == _ARRAY:
        raise ValueError("an array that no model has")
    if kind == _STRING:
        for _ in range(count):
            _string(file)
    elif count <= _MAX_KEPT_ARRAY:
        return _unpack(file, f"{count}{_SCALARS[kind]}")
    else:
        file.seek(count * struct.calcsize("<" + _SCALARS[kind]), 1)
    return None


def _string(file: BinaryIO) -> bytes:
    (length,) = _unpack(file, "Q")
    if length > _MAX_STRING:
        raise ValueError("a string that no model has")
    data = file.read(length)
    if len(data) != length:
        raise ValueError("the file ends in the middle")
    return data


def _unpack(file: BinaryIO, codes: str) -> tuple[int, ...]:
    form = "<" + codes
    return struct.unpack(form, file.read(struct.calcsize(form)))
