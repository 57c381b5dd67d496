"""Reading nested tables of settings strictly: every error names the path of what is wrong, and nothing is ignored."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from antiphon.settings.parsers import Misfit

T = TypeVar("T", bound=str)

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def joined(path: str, key: str) -> str:
    """The path of a member, with the key quoted where TOML would ask for it."""
    return f"{path}.{key}" if _BARE.fullmatch(key) else f'{path}."{key}"'


class Table:
    """A table, and where it stands. Members are taken by name and kind; None where one is not there."""

    def __init__(self, raw: object, path: str, known: Collection[str] | None = None) -> None:
        """Raises `Misfit` if `raw` is no table, or holds what is not among `known` (None: any name)."""
        if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
            raise Misfit(f"{path}: must be a table")
        self.raw: Mapping[str, Any] = raw
        self.path = path
        for key in raw if known is not None else ():
            if key not in (known or ()):
                near = get_close_matches(key, known or (), n=1, cutoff=0.5)
                hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known or ())}"
                raise Misfit(f"{joined(path, key)}: unknown; {hint}")

    def at(self, key: str) -> str:
        """The path of a member."""
        return joined(self.path, key)

    def wrong(self, key: str, what: str) -> Misfit:
        """The error that a member is wrong."""
        return Misfit(f"{self.at(key)}: {what}")

    def text(self, key: str, longest: int = 1024) -> str | None:
        """A text of printable characters that is not empty."""
        raw = self.raw.get(key)
        if raw is None:
            return None
        if not isinstance(raw, str) or not raw.strip() or not raw.isprintable() or len(raw) > longest:
            raise self.wrong(key, f"must be a text of 1 to {longest} printable characters")
        return raw.strip()

    def needed(self, key: str) -> str:
        """A text that must be there."""
        value = self.text(key)
        if value is None:
            raise self.wrong(key, "is missing")
        return value

    def one_of(self, key: str, choices: tuple[T, ...]) -> T | None:
        """One of a few words."""
        raw = self.raw.get(key)
        if raw is None:
            return None
        if raw not in choices:
            raise self.wrong(key, f"must be one of {', '.join(choices)}")
        return choices[choices.index(raw)]

    def integer(self, key: str, low: int, high: int) -> int | None:
        """A whole number."""
        raw = self.raw.get(key)
        if raw is None:
            return None
        if not isinstance(raw, int) or isinstance(raw, bool) or not low <= raw <= high:
            raise self.wrong(key, f"must be a whole number from {low} to {high}")
        return raw

    def seconds(self, key: str, high: float) -> float | None:
        """A number of seconds above zero."""
        raw = self.raw.get(key)
        if raw is None:
            return None
        if isinstance(raw, bool) or not isinstance(raw, int | float) or math.isnan(raw) or not 0 < raw <= high:
            raise self.wrong(key, f"must be a number of seconds, more than 0 and up to {high:g}")
        return float(raw)

    def flag(self, key: str) -> bool | None:
        """True or false."""
        raw = self.raw.get(key)
        if raw is not None and not isinstance(raw, bool):
            raise self.wrong(key, "must be true or false")
        return raw

    def table(self, key: str, known: Collection[str] | None = None) -> Table | None:
        """A table within."""
        raw = self.raw.get(key)
        return None if raw is None else Table(raw, self.at(key), known)

    def tables(self, key: str, known: Collection[str], most: int) -> Iterator[Table]:
        """A list of tables."""
        raw = self.raw.get(key, [])
        if not isinstance(raw, list) or len(raw) > most:
            raise self.wrong(key, f"must be a list of up to {most} tables")
        return (Table(item, f"{self.at(key)}[{index}]", known) for index, item in enumerate(raw))

    def texts(self, key: str, most: int) -> tuple[str, ...]:
        """A list of texts."""
        raw = self.raw.get(key, [])
        if not isinstance(raw, list) or len(raw) > most:
            raise self.wrong(key, f"must be a list of up to {most} texts")
        if not all(isinstance(item, str) and item.strip() and item.isprintable() for item in raw):
            raise self.wrong(key, "must be a list of texts that are not empty")
        return tuple(item.strip() for item in raw)
