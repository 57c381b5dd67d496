"""One open WebSocket, and what is done over it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from starlette.types import Receive, Send

from antiphon.domain.errors import AntiphonError
from antiphon.http.disconnect import ClientGone
from antiphon.policy.call import Call
from antiphon.wire import json as wire_json


class SocketSession(Protocol):
    """What is done over one open WebSocket."""

    async def run(self) -> None:
        """Serve until the client disconnects (`ClientGone`) or the connection must end."""

    def stop(self, reason: AntiphonError) -> None:
        """Take no new work, let the work under way end, then close the connection and return from `run`."""


class SocketConnection:
    """One WebSocket of a client that is known, as the session on it sees it."""

    def __init__(
        self,
        request_id: str,
        path_params: Mapping[str, str],
        query: bytes,
        new_call: Callable[[], Awaitable[Call]],
        receive: Receive,
        send: Send,
    ) -> None:
        """`new_call`: see below. `query`: the undecoded query string of the request that opens the connection."""
        self.request_id = request_id
        self.path_params = path_params
        self.query = query
        #: Makes a call for one request over this connection. The key is checked anew, since it may have been revoked
        #: in the meantime: raises `Unauthenticated` or `PermissionDenied` then.
        self.new_call = new_call
        self._receive = receive
        self._send = send

    async def receive(self) -> str | bytes:
        """The next message: text or bytes. Raises `ClientGone` once the client has disconnected."""
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            raise ClientGone
        text: str | None = message.get("text")
        return message["bytes"] if text is None else text

    async def send_json(self, body: object) -> None:
        """Send a JSON document as a text message, and wait until the connection takes it. Raises `ClientGone`."""
        await self._send_message({"type": "websocket.send", "text": wire_json.encode(body).decode()})

    async def send_bytes(self, data: bytes) -> None:
        """Send a binary message, and wait until the connection takes it. Raises `ClientGone`."""
        await self._send_message({"type": "websocket.send", "bytes": data})

    async def close(self, code: int, reason: str) -> None:
        """Close the connection. `code`: RFC 6455, section 7.4. Raises `ClientGone`."""
        await self._send_message({"type": "websocket.close", "code": code, "reason": reason})

    async def _send_message(self, message: dict[str, Any]) -> None:
        try:
            await self._send(message)
        except OSError:
            raise ClientGone from None
