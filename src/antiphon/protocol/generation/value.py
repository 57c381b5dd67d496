"""The base of small immutable values."""

from __future__ import annotations

import msgspec


class Value(msgspec.Struct, frozen=True, gc=False):
    """An immutable value that holds no reference cycles (so the collector need not look at it)."""
