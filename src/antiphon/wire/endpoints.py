"""Which endpoints OpenAI has, so that one that is not served here can say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

import msgspec


class Endpoint(msgspec.Struct, frozen=True):
    """A path of OpenAI's, such as `/v1/batches/{batch_id}`, and its methods."""

    path: str
    methods: Sequence[str]


def find(path: str) -> Endpoint | None:
    """The endpoint that a path belongs to; None if OpenAI has no such path either.

    A plain name goes before a parameter.
    """
    pieces = path.strip("/").split("/")
    found = [known for known in _known().get(len(pieces), []) if _fits(known[0], pieces)]
    if not found:
        return None
    parts, methods = min(found, key=lambda known: sum(part.startswith("{") for part in known[0]))
    return Endpoint("/" + "/".join(parts), methods)


def _fits(parts: Sequence[str], pieces: Sequence[str]) -> bool:
    return all(part == piece or (part.startswith("{") and piece) for part, piece in zip(parts, pieces, strict=True))


@cache
def _known() -> Mapping[int, list[tuple[list[str], list[str]]]]:
    # Read when the first unknown path is asked for.
    known: dict[int, list[tuple[list[str], list[str]]]] = {}
    data = files("antiphon.wire").joinpath("endpoints.json").read_bytes()
    for path, methods in msgspec.json.decode(data, type=dict[str, list[str]]).items():
        parts = ["v1", *path.strip("/").split("/")]
        known.setdefault(len(parts), []).append((parts, methods))
    return known
