"""Fields of a request that the published API does not have: for servers behind this one, which may know them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from antiphon.domain.errors import InvalidRequest


class Unknown(msgspec.Struct, frozen=True):
    """`fields`: members of the body itself. `nested`: the refusal of the first one that stands deeper, if there is one.

    They are refused where they cannot be known: by the local engine.
    """

    fields: Mapping[str, Any] = {}
    nested: InvalidRequest | None = None


_NONE: dict[str, Any] = {}


def unread(given: Mapping[str, Any], read: frozenset[str]) -> dict[str, Any]:
    """The members of an object beside those that are `read` here, without nulls. Nearly always there are none."""
    if read.issuperset(given):
        return _NONE
    return {name: value for name, value in given.items() if name not in read and value is not None}


#: A request as the published API has it.
NOTHING = Unknown()
