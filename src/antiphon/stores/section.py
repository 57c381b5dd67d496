"""What the parts of the store share: the database, and what may be an id."""

from __future__ import annotations

from typing import NamedTuple

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest
from antiphon.stores.database import Database


class PageCursor(NamedTuple):
    """Which part of a list is wanted: `limit` entries in this order, after the entry with the id `after`."""

    after: str | None
    limit: int
    ascending: bool


class StoreSection:
    """A part of the store."""

    def __init__(self, database: Database) -> None:
        self._database = database


def is_valid_id(*texts: str) -> bool:
    """Whether objects with these ids or names could be stored at all: any others are unknown without looking.

    PostgreSQL cannot hold a NUL in its text, and neither database half of a surrogate pair. Both databases follow
    the stricter rule, so that they behave alike.
    """
    for text in texts:
        if "\x00" in text or len(text) > limits.MAX_ID:
            return False
        if not text.isascii():
            try:
                if len(text.encode()) > limits.MAX_ID:
                    return False
            except UnicodeEncodeError:
                return False
    return True


def require_valid_id(*texts: str) -> None:
    """Raise `InvalidRequest` unless these can be stored as ids or names."""
    if not is_valid_id(*texts):
        raise InvalidRequest(
            f"An id is too long (at most {limits.MAX_ID} bytes) or holds characters that no id may have.",
            code="invalid_id",
        )
