"""An answer as it comes in: its head is there, its body comes in pieces."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from antiphon.domain import limits


class ResponseSource(Protocol):
    """What an answer needs of the connection that it comes on."""

    def resume(self) -> None:
        """Read on: what had come was taken."""

    def abort(self) -> None:
        """End the connection now."""


class Headers(dict[str, str]):
    """An answer's headers, by names in small letters."""

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]  # narrower
        """A header, whatever the case of its name."""
        return super().get(name.lower(), default)


class Response:
    """An answer whose headers have come. It must be read to its end, or closed."""

    __slots__ = ("_connection", "_ended", "_error", "_on_end", "_pieces", "_size", "_waiter", "headers", "status")

    def __init__(self, status: int, headers: Headers, connection: ResponseSource) -> None:
        self.status = status
        self.headers = headers
        self._connection: ResponseSource | None = connection
        self._pieces: list[bytes] = []
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        self._error: Exception | None = None
        self._on_end: Callable[[], None] | None = None

    @property
    def content_type(self) -> str:
        """The media type, in small letters and without parameters."""
        return (self.headers.get("content-type") or "").partition(";")[0].strip().lower()

    @property
    def is_whole(self) -> bool:
        """Whether all of it has come, so that reading it does not wait."""
        return self._ended

    async def readany(self) -> bytes:
        """What has come since the last call, at least one byte; empty at the end. Raises what broke the answer."""
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._ended:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        pieces, self._pieces = self._pieces, []
        if self._size > limits.UPSTREAM_READ_AHEAD and self._connection is not None:
            self._connection.resume()
        self._size = 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def is_eof(self) -> bool:
        """Whether all of it has come, and was read."""
        return self._ended and not self._pieces

    def on_eof(self, callback: Callable[[], None]) -> None:
        """Call this when the answer ends, in whatever way; at once, if it has."""
        if self._ended or self._error is not None:
            callback()
        else:
            self._on_end = callback

    def set_exception(self, error: Exception) -> None:
        """End it: reading it raises this error."""
        if not self._ended:
            self._error = self._error or error
            self._wake()

    def close(self) -> None:
        """Stop reading it. If it is not whole, its connection is closed."""
        self._on_end = None
        connection, self._connection = self._connection, None
        if connection is not None and not self._ended:
            self._ended = True
            connection.abort()
            self._wake()

    # --- called by its connection -------------------------------------------------------------------------------------
    def add(self, piece: bytes) -> bool:
        """A piece has come. Returns whether no more should come before this is read."""
        self._pieces.append(piece)
        self._size += len(piece)
        return self._size > limits.UPSTREAM_READ_AHEAD

    def end(self, error: Exception | None = None) -> None:
        """The answer is whole, or broken off by `error`."""
        self._connection = None
        if error is None:
            self._ended = True
        else:
            self._error = self._error or error
        self._wake()
        if self._on_end is not None:
            callback, self._on_end = self._on_end, None
            callback()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def wake(self) -> None:
        """All pieces that came at once are added."""
        self._wake()
