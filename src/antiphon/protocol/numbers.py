"""Numbers as JSON has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def make_whole(body: dict[str, Any], names: Sequence[str]) -> None:
    """Turn these members, which have passed the schema as integers, into ints where they were written as 16.0.

    JSON Schema counts 16.0 as an integer; an engine, a range and the answer that repeats it do not.
    """
    for name in names:
        value = body.get(name)
        if isinstance(value, float):
            body[name] = int(value)


def number_or(value: float | None, default: float) -> float:
    """A number that may be left out, as a float."""
    return default if value is None else float(value)
