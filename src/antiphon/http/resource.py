"""What the API serves: a path with its methods (`Resource`), or one that is opened as a WebSocket (`SocketResource`).

Each module of an API resource has a function that returns a list of these; `Api` is given all of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

from antiphon.domain.scopes import group_of, scope_of
from antiphon.http.exchange import Exchange
from antiphon.http.socket_connection import SocketConnection, SocketSession

Handler = Callable[[Exchange], Awaitable[None]]
#: Who may call: anybody; the holder of a project's key, or of a session that was opened with one; of an admin key.
Access = Literal["open", "key", "admin"]


class Resource:
    """One path and a handler for each of its methods."""

    def __init__(
        self, path: str, methods: Mapping[str, Handler], *, access: Access = "key", streams_body: bool = False
    ) -> None:
        """`path`: with parameters in braces, such as `/v1/responses/{response_id}`.

        `streams_body`: its POST reads the body in pieces. An `Idempotency-Key`, which stands for a whole body that is
        known before the work begins, is refused there.
        """
        self.path = path
        self.methods = methods
        self.access = access
        self.streams_body = streams_body
        group = group_of(path)
        #: The scope that each method needs of a project's key.
        self.scopes = {method: scope_of(group, method) for method in methods}


class SocketResource:
    """One path that is opened as a WebSocket by a holder of a project's key.

    The same path may be a `Resource` too: a GET that asks for the upgrade is served here, all else there.
    """

    def __init__(self, path: str, open_session: Callable[[SocketConnection], SocketSession]) -> None:
        """`open_session`: called for each connection, once its client is known and before it is accepted."""
        self.path = path
        self.open_session = open_session
        #: The scope that a key needs: whatever a session makes, it writes.
        self.scope = scope_of(group_of(path), "POST")
