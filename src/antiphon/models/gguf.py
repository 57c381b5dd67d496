"""What a GGUF file says about itself: just enough to serve a file that no catalog knows.

The format is described by the ggml project (docs/gguf.md): the magic `GGUF`, a version, two counts, then
key-value pairs, all little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from antiphon.domain.errors import SetupError

MAGIC = b"GGUF"
_STRING, _ARRAY = 8, 9
#: struct codes of the scalar value types.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
#: A file that claims more than this is broken (the largest vocabularies have about 300,000 tokens).
_MAX_PAIRS, _MAX_STRING, _MAX_ARRAY = 10_000, 8 * 1024 * 1024, 4_000_000


@dataclass(frozen=True, slots=True)
class GgufInfo:
    """`trained_context`: tokens the model was trained for, if the file says. `knows_tools`: its chat template shows
    tools to the model."""

    trained_context: int | None
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
    context = pairs.get(f"{pairs.get('general.architecture', '')}.context_length")
    template = pairs.get("tokenizer.chat_template", "")
    return GgufInfo(
        trained_context=context if isinstance(context, int) and context > 0 else None,
        knows_tools=isinstance(template, str) and "tools" in template,
    )


def _pairs(file: BinaryIO) -> dict[str, object]:
    """The key-value pairs; arrays are passed over (a vocabulary is of no use here)."""
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
        _skip_array(file)
        return None
    return _unpack(file, _SCALARS[kind])[0]


def _skip_array(file: BinaryIO) -> None:
    kind, count = _unpack(file, "IQ")
    if count > _MAX_ARRAY or kind == _ARRAY:
        raise ValueError("an array that no model has")
    if kind == _STRING:
        for _ in range(count):
            _string(file)
    else:
        file.seek(count * struct.calcsize("<" + _SCALARS[kind]), 1)


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
