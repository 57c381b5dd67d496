"""Small files for tests of models: GGUF heads, wheels, and models of a catalog made of them."""

from __future__ import annotations

import hashlib
import struct
import zipfile
from pathlib import Path

from antiphon.models.catalog import Archive, ArchiveSource, ChatSettings, Model, Source


class Record:
    """Remembers what a pull told."""

    def __init__(self) -> None:
        self.updates: list[tuple[int, int]] = []
        self.notes: list[str] = []

    def update(self, done: int, total: int) -> None:
        self.updates.append((done, total))

    def note(self, text: str) -> None:
        self.notes.append(text)


def gguf(pairs: dict[str, str | int | list[str] | list[int]]) -> bytes:
    """A GGUF head (version 3) with these pairs and no tensors."""
    body = b"".join(_text(key) + _value(value) for key, value in pairs.items())
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)) + body


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: str | int | list[str] | list[int]) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    if isinstance(value, list):
        texts = [_text(item) if isinstance(item, str) else struct.pack("<I", item) for item in value]
        kind = 4 if value and isinstance(value[0], int) else 8
        return struct.pack("<IIQ", 9, kind, len(value)) + b"".join(texts)
    return struct.pack("<II", 4, value)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def wheel(directory: Path, name: str, content: bytes) -> Archive:
    """Write the wheel `name` 1.0 that holds `content`, and return it as a catalog would name it."""
    package = name.replace("-", "_")
    path = directory / f"{package}-1.0-py3-none-any.whl"
    info = f"{package}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{package}/data.bin", content)
        # Would be noticed if anything were ever imported or installed.
        archive.writestr(f"{package}/__init__.py", "raise SystemExit('imported')")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    data = path.read_bytes()
    return Archive(requirement=f"{name}==1.0", bytes=len(data), sha256=sha256(data), member=f"{package}/data.bin")


def model(content: bytes, *sources: Source, name: str = "tiny") -> Model:
    """A model whose file is `content`."""
    return Model(
        name=name,
        file=f"{name}.gguf",
        bytes=len(content),
        sha256=sha256(content),
        licence="Apache-2.0",
        kind="chat",
        description="for tests",
        trained_context=2048,
        kv_bytes=1024,
        chat=ChatSettings(),
        sources=sources,
    )


def archives(*parts: Archive) -> ArchiveSource:
    return ArchiveSource(archives=parts)
