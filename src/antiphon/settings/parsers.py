"""From what a flag, a variable (text) or a TOML file (typed) says to a setting's value.

A parser takes the raw value and returns the setting's, or raises `Unfit`, whose text continues "port must be …".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from antiphon.domain.errors import SetupError

Parser = Callable[[object], Any]


class Unfit(SetupError):
    """The raw value does not fit; the message continues "port …"."""


class Misfit(SetupError):
    """Something within a table does not fit; the message is whole, names its path, and quotes no value."""


def text(raw: object) -> str:
    """A string that is not empty."""
    if not isinstance(raw, str) or not raw.strip():
        raise Unfit("must be a text that is not empty")
    return raw.strip()


def path(raw: object) -> Path:
    """A path; `~` is the home directory. Relative ones count from the working directory."""
    return Path(text(raw)).expanduser().absolute()


def integer(low: int, high: int) -> Parser:
    """A whole number from `low` to `high`."""

    def parse(raw: object) -> int:
        if isinstance(raw, str) and re.fullmatch(r"\s*[+-]?\d{1,18}\s*", raw):
            raw = int(raw)
        if not isinstance(raw, int) or isinstance(raw, bool) or not low <= raw <= high:
            raise Unfit(f"must be a whole number from {low} to {high}")
        return raw

    return parse


def seconds(low: float, high: float) -> Parser:
    """A number of seconds from `low` to `high`."""

    def parse(raw: object) -> float:
        wanted = f"must be a number of seconds from {low:g} to {high:g}"
        if isinstance(raw, bool) or not isinstance(raw, str | int | float):
            raise Unfit(wanted)
        try:
            number = float(raw)
        except ValueError:
            raise Unfit(wanted) from None
        if not low <= number <= high:  # also refuses "nan"
            raise Unfit(wanted)
        return number

    return parse


def one_of(*choices: str) -> Parser:
    """One of a few words."""

    def parse(raw: object) -> str:
        if raw not in choices:
            raise Unfit(f"must be one of {', '.join(choices)}")
        return str(raw)

    return parse


def texts(raw: object) -> tuple[str, ...]:
    """A list of strings: a TOML array, or text with commas. Empty text is the empty list."""
    items = raw.split(",") if isinstance(raw, str) else raw
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise Unfit("must be a list of texts (in a flag or a variable: with commas between them)")
    return tuple(item.strip() for item in items if item.strip())


def networks(raw: object) -> tuple[str, ...]:
    """A list of addresses and networks such as `10.0.0.0/8`, written as `texts` are; in their canonical form."""
    from antiphon.domain.scopes import network  # most commands have none

    try:
        return tuple(str(network(text)) for text in texts(raw))
    except ValueError:
        raise Unfit("must be a list of addresses and networks such as 10.0.0.0/8") from None


def cpus(raw: object) -> tuple[int, ...]:
    """CPU numbers, such as `0,2-3` (taskset's way of writing them), or a TOML array of numbers."""
    wanted = "must be a list of CPU numbers such as 0,2-3"
    if isinstance(raw, list) and all(type(item) is int and 0 <= item < 4096 for item in raw):
        return tuple(sorted(set(raw)))
    if not isinstance(raw, str):
        raise Unfit(wanted)
    numbers: set[int] = set()
    for piece in raw.split(",") if raw.strip() else ():
        match = re.fullmatch(r"\s*(\d{1,4})(?:-(\d{1,4}))?\s*", piece)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise Unfit(wanted)
        numbers.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(sorted(numbers))


def table(raw: object) -> Mapping[str, str]:
    """Names to names: a TOML table, or text such as `a=b,c=d`. Empty text is the empty table."""
    wanted = "must be a table of names to model names (in a flag or a variable: a=b,c=d)"
    if isinstance(raw, str):
        pairs = [piece.partition("=") for piece in raw.split(",") if piece.strip()]
        raw = {name.strip(): target.strip() for name, _, target in pairs}
    if not isinstance(raw, dict):
        raise Unfit(wanted)
    if not all(isinstance(target, str) and target and name for name, target in raw.items()):
        raise Unfit(wanted)
    return dict(raw)


def database(raw: object) -> str:
    """The URL of a database."""
    url = text(raw)
    if not re.match(r"(sqlite:///|postgres://|postgresql://)", url):
        raise Unfit("must be a URL that begins with sqlite:/// or postgresql://")
    return url


#: What the address of a bucket begins with.
S3_SCHEME = "s3://"


def blobs(raw: object) -> str:
    """A folder, or the address of a bucket, perhaps with a prefix."""
    where = text(raw)
    if where.startswith(S3_SCHEME) and not re.fullmatch(r"s3://[a-z0-9.-]{3,63}(/[A-Za-z0-9_-]+)*/?", where):
        raise Unfit("must be s3://BUCKET or s3://BUCKET/PREFIX, the prefix of letters, digits, - and _")
    if "://" in where and not where.startswith(S3_SCHEME):
        raise Unfit("must be a folder or begin with s3://")
    return where if where.startswith(S3_SCHEME) else str(path(where))


def web_address(raw: object) -> str:
    """An address that begins with http:// or https://."""
    url = text(raw)
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", url):
        raise Unfit("must be an address that begins with https:// or http://, without a user or a query")
    return url.rstrip("/")


def mask_secret(secret: str) -> str:
    """Whether there is one, and nothing of it."""
    return "***" if secret else ""


def mask_url(url: str) -> str:
    """The URL as it may be shown: without the password, wherever the URL carries it."""
    masked = re.sub(r"(?<=://)([^/?#@]*?):([^/?#]*)@", r"\1:***@", url)
    return re.sub(r"((?:^|[?&;])(?:password|sslpassword|passfile)=)[^&;#]*", r"\1***", masked, flags=re.IGNORECASE)
