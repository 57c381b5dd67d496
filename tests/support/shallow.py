"""A model that answers nonsense at once: the smallest real one with most of its layers left out.

Its vocabulary, chat template and arithmetic are the real ones, so it counts, streams, obeys grammars and fills a
context as any model does; reading a prompt takes it a tenth of the time. It is for what needs no sense at all.
"""

from __future__ import annotations

import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from models import model_path

#: The name that clients see: the file's.
NAME = "smollm2-shallow"
#: With one layer it says one token for ever; with two its answers are at least of many kinds.
_LAYERS = 2
_HOME = Path(__file__).resolve().parents[2] / ".pytest_cache" / "models"

#: Sizes of the scalar value types of GGUF; 8 is a string, 9 an array (the ggml project's docs/gguf.md).
_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY, _UINT32 = 8, 9, 4
_DEFAULT_ALIGNMENT = 32


@dataclass
class _Tensor:
    """One entry of the table of tensors. `offset` is from the start of the data; `size` includes the padding."""

    name: bytes
    shape: bytes
    offset: int
    size: int = 0

    @property
    def layer(self) -> int | None:
        """The block it belongs to; None for embeddings and the last norm."""
        parts = self.name.split(b".")
        return int(parts[1]) if parts[0] == b"blk" else None


def write_shallow(source: Path, target: Path, layers: int) -> Path:
    """Write the model file `source` to `target` with its first `layers` layers only; returns `target`."""
    with source.open("rb") as file:
        magic, version, count, pairs = struct.unpack("<4sIQQ", file.read(24))
        assert magic == b"GGUF", source
        head = b"".join(_pair(file, layers) for _ in range(pairs))
        tensors = [_tensor(file) for _ in range(count)]
        data = _padded(file.tell())
        ends = [*(tensor.offset for tensor in tensors[1:]), source.stat().st_size - data]
        for tensor, end in zip(tensors, ends, strict=True):
            tensor.size = end - tensor.offset
        kept = [tensor for tensor in tensors if tensor.layer is None or tensor.layer < layers]
        table, offset = b"", 0
        for tensor in kept:
            table += _text(tensor.name) + tensor.shape + struct.pack("<Q", offset)
            offset += _padded(tensor.size)
        start = struct.pack("<4sIQQ", magic, version, len(kept), pairs) + head + table
        with target.open("wb") as out:
            out.write(start.ljust(_padded(len(start)), b"\0"))
            for tensor in kept:
                file.seek(data + tensor.offset)
                out.write(file.read(tensor.size).ljust(_padded(tensor.size), b"\0"))
    return target


def _padded(size: int) -> int:
    return -(-size // _DEFAULT_ALIGNMENT) * _DEFAULT_ALIGNMENT


def _text(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def _read_text(file: BinaryIO) -> bytes:
    (length,) = struct.unpack("<Q", file.read(8))
    return file.read(length)


def _pair(file: BinaryIO, layers: int) -> bytes:
    """A key and its value as they stand, but for the number of layers."""
    key = _read_text(file)
    (kind,) = struct.unpack("<I", file.read(4))
    value = _value(file, kind)
    assert key != b"general.alignment", "another alignment than the default is not looked after"
    if key.endswith(b".block_count"):
        assert kind == _UINT32
        value = struct.pack("<I", layers)
    return _text(key) + struct.pack("<I", kind) + value


def _value(file: BinaryIO, kind: int) -> bytes:
    if kind == _STRING:
        return _text(_read_text(file))
    if kind != _ARRAY:
        return file.read(_SCALARS[kind])
    head = file.read(12)
    inner, length = struct.unpack("<IQ", head)
    if inner in _SCALARS:
        return head + file.read(_SCALARS[inner] * length)
    return head + b"".join(_value(file, inner) for _ in range(length))


def _tensor(file: BinaryIO) -> _Tensor:
    name = _read_text(file)
    dimensions = file.read(4)
    shape = dimensions + file.read(8 * struct.unpack("<I", dimensions)[0] + 4)
    (offset,) = struct.unpack("<Q", file.read(8))
    return _Tensor(name, shape, offset)


def shallow_model() -> Path:
    """The model file, made on first use and kept beside pytest's cache."""
    source = model_path("smollm2-135m")
    target = _HOME / f"{NAME}.gguf"
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        _HOME.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_HOME) as folder:  # two test processes may make it at once
            write_shallow(source, Path(folder) / target.name, _LAYERS).replace(target)
    return target
