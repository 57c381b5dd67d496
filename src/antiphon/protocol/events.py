"""What every surface's machine emits, and how it hides the length of its tokens."""

from __future__ import annotations

from typing import Any

import msgspec

from antiphon.domain.ids import random_hex

#: Deltas are padded to a multiple of this many characters.
_BLOCK = 16
#: Padding that is fetched at once, enough for some hundred deltas.
_POOL = 1024


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
        start = self._at
        end = start + _BLOCK - len(delta) % _BLOCK
        if end > len(self._pool):
            self._pool = random_hex(_POOL)
            start, end = 0, end - start
        self._at = end
        return self._pool[start:end]
