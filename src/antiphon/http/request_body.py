"""Reads the body of a request: as a whole, or in pieces as they arrive.

Both are bounded in size and in time. Read in pieces, a body of any size takes little memory: while the handler works on
a piece, the server reads no more of the connection than its own small buffer holds, so the client has to wait
(back-pressure). The time that the handler takes does not count as the client's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping

from starlette.types import Receive, Scope

from antiphon.domain import limits
from antiphon.domain.errors import PayloadTooLarge, RequestTimeout
from antiphon.http.body_budget import BodyBudget
from antiphon.http.disconnect import SCOPE_KEY, ClientConnection, ClientGone


class RequestBody:
    """One request's body. It is read once, in one of the two ways; a whole body may be asked for again."""

    def __init__(
        self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, budget: BodyBudget, max_size: int
    ) -> None:
        """`budget`: of all requests' bodies. `max_size`: bytes of a body that is read as a whole."""
        self._scope = scope
        self._headers = headers
        self._receive = receive
        self._budget = budget
        self._max_size = max_size
        self._body: bytes | None = None
        #: Bytes of it that the budget counts.
        self._reserved = 0
        #: Bytes that have come, seconds that were spent waiting for them, and whether there are more.
        self._size = 0
        self._waited = 0.0
        self._more = True

    async def read(self) -> bytes:
        """The whole body. Raises `PayloadTooLarge`, `RequestTimeout`, `BodyRefused` or `ClientGone`."""
        if self._body is None:
            self._check_length(self._max_size)
            pieces = [await self._next(self._max_size)]
            while self._more:
                pieces.append(await self._next(self._max_size))
            self._body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return self._body

    async def stream(self, max_size: int) -> AsyncGenerator[bytes, None]:
        """The body in pieces, none of them empty. `max_size`: bytes of all of them together.

        Raises the same errors as `read`, when they happen. A body that was read as a whole comes as one piece.
        """
        self._check_length(max_size)
        if self._body is not None:
            if len(self._body) > max_size:
                raise _too_large(max_size)
            if self._body:
                yield self._body
            return
        while self._more:
            piece = await self._next(max_size)
            if piece:
                yield piece
            # The handler is done with this piece. The budget counts only what is in memory.
            self.release()

    async def _next(self, max_size: int) -> bytes:
        """The next piece; it counts against the budget. Not to be called after the last one."""
        if not self._more:
            raise RuntimeError("the body has been read in pieces already")
        connection: ClientConnection | None = self._scope.get(SCOPE_KEY)
        try:
            if connection is not None and connection.request_complete:
                message = await self._receive()
            else:
                began = time.monotonic()
                left = limits.BODY_TOTAL_TIMEOUT + self._size / limits.MIN_BODY_RATE - self._waited
                async with asyncio.timeout(min(limits.BODY_TIMEOUT, left)):
                    message = await self._receive()
                self._waited += time.monotonic() - began
        except TimeoutError:
            raise RequestTimeout("The request's body did not arrive in time.") from None
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece: bytes = message.get("body", b"")
        self._more = message.get("more_body", False)
        self._size += len(piece)
        if self._size > max_size:
            raise _too_large(max_size)
        self._budget.reserve(len(piece))
        self._reserved += len(piece)
        return piece

    def _check_length(self, max_size: int) -> None:
        length = self._headers.get(b"content-length")
        if length is not None and int(length) > max_size:
            raise _too_large(max_size)

    def release(self) -> None:
        """The body is not needed any more: give its bytes back to the budget."""
        self._budget.release(self._reserved)
        self._reserved, self._body = 0, None


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The request's body is larger than {limit} bytes.")
