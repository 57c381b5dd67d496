"""What every surface's machine emits, and how it hides the length of its tokens."""

from __future__ import annotations

import os
from typing import Any

import msgspec

#: Deltas are padded to a multiple of this many characters.
_BLOCK = 16
_POOL_SIZE = 4096


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event of a stream. `type` is its name ("" for surfaces whose events have none); `body` is its JSON object."""

    type: str
    body: dict[str, Any]


class Passed(msgspec.Struct, frozen=True, gc=False):
    """One event of an upstream, as JSON, that is passed on as it came."""

    data: bytes


class MachineError(Exception):
    """A fact that has no row in a machine's table: an engine broke the rules of the exchange."""


class Obfuscator:
    """Makes the `obfuscation` string of delta events.

    An eavesdropper on an encrypted stream can guess tokens by the length of its records; random padding hides it
    (published specification: `stream_options.include_obfuscation`, on by default).
    """

    __slots__ = ("_at", "_pool")

    def __init__(self) -> None:
        self._pool = ""
        self._at = 0

    def pad(self, delta: str) -> str:
        """Random characters that bring `delta` to a full block, at least one."""
        size = _BLOCK - len(delta) % _BLOCK
        if self._at + size > len(self._pool):
            self._pool = os.urandom(_POOL_SIZE // 2).hex()
            self._at = 0
        start = self._at
        self._at = start + size
        return self._pool[start : self._at]
