"""From what a user calls a model (a name of the catalog, or a file) to the file that the engine loads."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from antiphon.models import catalog, gguf
from antiphon.models.catalog import ChatSettings, Model


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model that can be served.

    `name` is what clients see; `path` the file (of a catalog's model: there once `pull.ensure` has returned);
    `trained_context` the most tokens that make sense, if known; `kv_bytes` what each takes in the KV cache, if known;
    `entry` the catalog's entry, or None for a file of the user's own.
    """

    name: str
    path: Path
    trained_context: int | None
    kv_bytes: int | None
    chat: ChatSettings
    entry: Model | None = None

    @property
    def size(self) -> int:
        """Bytes of the file, or what they will be."""
        try:
            return self.path.stat().st_size
        except OSError:
            return self.entry.bytes if self.entry else 0


def resolve(spec: str, models_dir: Path) -> ResolvedModel:
    """The model that `spec` means: a name of the catalog, "default", or the path of a GGUF file (`….gguf`).

    Raises `SetupError` for an unknown name, a missing file, or a file that is not GGUF. Downloads nothing.
    """
    if spec.lower().endswith(".gguf"):
        return _from_file(Path(spec).expanduser())
    model = catalog.find(spec)
    return ResolvedModel(
        name=model.name,
        path=model.path(models_dir),
        trained_context=model.trained_context,
        kv_bytes=model.kv_bytes,
        chat=model.chat,
        entry=model,
    )


def _from_file(path: Path) -> ResolvedModel:
    info = gguf.read(path)
    return ResolvedModel(
        name=public_name(path),
        path=path.resolve(),
        trained_context=info.trained_context,
        kv_bytes=info.kv_bytes,
        chat=ChatSettings(tools="template" if info.knows_tools else "prompt"),
    )


def public_name(path: Path) -> str:
    """The name clients see for a file of the user's own: its stem, with anything unusual replaced by `-`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-.") or "model"
