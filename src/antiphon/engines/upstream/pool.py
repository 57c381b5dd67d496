"""The pool of connections, which knows whether a request goes out on one that was used before. Imports aiohttp."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import aiohttp
from aiohttp.connector import Connection

#: Whether the connection of the request that is being sent was used before.
reused: ContextVar[bool] = ContextVar("reused", default=False)
_MARK = "antiphon_used"


class Connector(aiohttp.TCPConnector):
    """Sets `reused`."""

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Connection:  # noqa: ASYNC109  (aiohttp's name)
        """A connection for a request."""
        connection = await super().connect(req, traces, timeout)
        protocol = connection.protocol
        reused.set(hasattr(protocol, _MARK))
        setattr(protocol, _MARK, True)
        return connection


def gone_stale(error: Exception) -> bool:
    """Whether a request failed because its connection, used before, was closed before any byte of an answer came.

    Servers close idle connections when they like, and a request may meet one that is just being closed: it was not
    read, then, and can be sent again. llama.cpp closes after each stream without saying so beforehand.
    """
    if not reused.get():
        return False
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return isinstance(error.message, str)  # otherwise, the beginning of an answer
    return isinstance(error, aiohttp.ClientOSError | ConnectionError) and not isinstance(
        error, aiohttp.ClientConnectorError
    )
