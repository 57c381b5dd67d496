"""What is known of shutdowns (`retirements.toml`), read once, when it is first asked for."""

from __future__ import annotations

import tomllib
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated

import msgspec

from antiphon.domain.errors import SetupError
from antiphon.domain.retirement import Retirement, Retirements

FILE = Path(__file__).with_name("retirements.toml")

_Words = Annotated[str, msgspec.Meta(min_length=2, max_length=200, pattern=r"^[\x21-\x7e][\x20-\x7e]*$")]
_Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9.-]*$", max_length=100)]
_Path = Annotated[str, msgspec.Meta(pattern=r"^/v1/[a-z_/]+$")]


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file. An unknown member is a mistake in the data, not something to pass over."""


class _Endpoint(_Table, frozen=True):
    replacement: _Words
    successor: _Path | None = None


class _Group(_Table, frozen=True):
    """What goes on one day, and was read in one place."""

    shutdown: date
    source: Annotated[str, msgspec.Meta(pattern=r"^https://\S+")]
    announced: date | None = None
    models: dict[_Name, _Words] = {}
    endpoints: dict[_Path, _Endpoint] = {}

    def __post_init__(self) -> None:
        if self.announced is not None and self.announced > self.shutdown:
            raise ValueError(f"announced on {self.announced}, after the shutdown on {self.shutdown}")
        if not (self.models or self.endpoints):
            raise ValueError(f"the group of {self.shutdown} names nothing")


class _File(_Table, frozen=True):
    as_of: date
    page: Annotated[str, msgspec.Meta(pattern=r"^https://[\x21-\x7e]+$")]
    group: tuple[_Group, ...]


def load(path: Path = FILE) -> Retirements:
    """Read a file of this form. Raises `SetupError` naming what is wrong with it."""
    try:
        data = msgspec.convert(tomllib.loads(path.read_text("utf-8")), _File)
    except OSError as error:
        raise SetupError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise SetupError(f"{path} is not a valid list of shutdowns: {error}") from None
    models: dict[str, Retirement] = {}
    endpoints: dict[str, Retirement] = {}
    for group in data.group:
        for name, replacement in group.models.items():
            _add(models, Retirement("model", name, group.shutdown, replacement, group.source, group.announced), path)
        for name, endpoint in group.endpoints.items():
            one = Retirement(
                "endpoint",
                name,
                group.shutdown,
                endpoint.replacement,
                group.source,
                group.announced,
                endpoint.successor,
            )
            _add(endpoints, one, path)
    return Retirements(data.as_of, data.page, models, endpoints)


def _add(known: dict[str, Retirement], one: Retirement, path: Path) -> None:
    if one.name in known:
        raise SetupError(f"{path} is not a valid list of shutdowns: '{one.name}' is there twice")
    known[one.name] = one


@cache
def retirements() -> Retirements:
    """What this version of Antiphon knows."""
    return load()
