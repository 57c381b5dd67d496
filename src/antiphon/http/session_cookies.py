"""Sessions by cookie: how a browser's page authenticates, and /antiphon/session, where it opens and ends its session.

A browser sends cookies with whatever request any site makes it send. What keeps other sites out:

* The cookie is `HttpOnly` (no script reads it) and `SameSite=Strict` (other sites' requests go without it). Over TLS
  its name begins with `__Host-`, so that no other host of the same domain can set it.
* A request that changes something must come from a page of this very origin, as its Sec-Fetch-Site or Origin says, and
  must carry the session's CSRF token in a header. Other origins can neither set the header nor read the token.
* A WebSocket cannot carry headers: there the Origin is asked for, and must be this server's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.types import Scope

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest, PermissionDenied, Unauthenticated
from antiphon.domain.sessions import Session
from antiphon.domain.tenancy import Caller
from antiphon.http.decoding import object_body
from antiphon.http.exchange import Exchange
from antiphon.http.proxies import Proxies
from antiphon.http.resource import Resource
from antiphon.policy.authenticate import Authenticator
from antiphon.policy.keys.permit import permit
from antiphon.policy.sessions import Sessions
from antiphon.protocol.refusals import missing_parameter, unknown_parameter
from antiphon.wire import json as wire_json

_PATH = "/antiphon/session"
#: A browser takes a cookie whose name begins with `__Host-` only over TLS, from this very host, and for all paths.
_SECURE_NAME = "__Host-antiphon_session"
_PLAIN_NAME = "antiphon_session"
_CSRF_HEADER = b"x-csrf-token"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_NO_STORE = (b"cache-control", b"no-store")


class SessionCookies:
    """The second authenticator: it gives the same caller as the key that the session was opened with."""

    def __init__(self, sessions: Sessions, authenticate: Authenticator, proxies: Proxies) -> None:
        """`proxies`: those that are trusted to tell whether the client's connection is encrypted."""
        self._sessions = sessions
        self._authenticate = authenticate
        self._proxies = proxies

    async def find_caller(self, method: str, headers: Mapping[bytes, bytes], scope: Scope) -> Caller | None:
        """Whose session the cookie names; None without one. `method`: WEBSOCKET for the opening of a WebSocket.

        Raises `Unauthenticated` for a session that has ended, `PermissionDenied` for a request that another site may
        have made.
        """
        token = self._token(headers, scope)
        if token is None:
            return None
        _, caller = await self._sessions.find(token)
        if method not in _SAFE_METHODS:
            self._check_origin(method, headers, token)
        return caller

    def _token(self, headers: Mapping[bytes, bytes], scope: Scope) -> str | None:
        """The session's token, as the cookie that is right for this connection has it."""
        wanted = _SECURE_NAME if self._proxies.is_secure(scope) else _PLAIN_NAME
        pairs = [pair.strip().partition("=") for pair in headers.get(b"cookie", b"").decode("latin-1").split(";")]
        found = [value for name, _, value in pairs if name == wanted]
        if len(found) > 1:
            raise Unauthenticated("The session's cookie was sent more than once.", code="invalid_session")
        return found[0] if found else None

    def _check_origin(self, method: str, headers: Mapping[bytes, bytes], token: str) -> None:
        """Raise `PermissionDenied` unless a page of this server has made the request."""
        _check_same_origin(headers)
        if method == "WEBSOCKET":
            if b"origin" not in headers:
                raise _forbidden("A WebSocket that is opened with a session needs the header 'Origin'.")
        elif not self._sessions.is_csrf_token(token, headers.get(_CSRF_HEADER, b"").decode("latin-1")):
            raise _forbidden(
                "A request that changes something needs the header 'X-CSRF-Token' with the session's 'csrf_token'."
            )

    # --- its resource -------------------------------------------------------------------------------------------------
    def resources(self) -> list[Resource]:
        """Where a page opens, sees and ends its session."""
        methods = {"POST": self._open, "GET": self._get, "DELETE": self._end}
        return [Resource(_PATH, methods, access="open")]

    async def _open(self, exchange: Exchange) -> None:
        # Another site could otherwise have its visitor use a session of its own choice.
        _check_same_origin(exchange.headers)
        body = await exchange.read_json(object_body)
        caller = await self._authenticate(f"Bearer {_key_of(body)}")
        permit(caller, None, exchange.client_address)
        token, session = await self._sessions.open(caller)
        cookie = self._cookie(exchange, token, session.expires_at - session.created_at)
        await self._reply(exchange, token, session, caller, [cookie])

    async def _get(self, exchange: Exchange) -> None:
        token, session, caller = await self._current(exchange)
        await self._reply(exchange, token, session, caller, [])

    async def _end(self, exchange: Exchange) -> None:
        token, session, _ = await self._current(exchange)
        self._check_origin(exchange.method, exchange.headers, token)
        await self._sessions.end(session)
        deleted = {"object": "antiphon.session.deleted", "id": session.id, "deleted": True}
        await exchange.reply(200, wire_json.encode(deleted), [self._cookie(exchange, "", 0), _NO_STORE])

    async def _current(self, exchange: Exchange) -> tuple[str, Session, Caller]:
        token = self._token(exchange.headers, exchange.scope)
        if token is None:
            raise Unauthenticated("There is no session: no cookie of one was sent.", code="no_session")
        session, caller = await self._sessions.find(token)
        permit(caller, None, exchange.client_address)
        return token, session, caller

    async def _reply(
        self, exchange: Exchange, token: str, session: Session, caller: Caller, headers: list[tuple[bytes, bytes]]
    ) -> None:
        body = {
            "object": "antiphon.session",
            "id": session.id,
            "created_at": session.created_at,
            "expires_at": session.expires_at,
            "project_id": caller.project.id,
            "key": {"id": caller.key.id, "name": caller.key.name},
            "csrf_token": self._sessions.csrf_token(token),
        }
        await exchange.reply(200, wire_json.encode(body), [*headers, _NO_STORE])

    def _cookie(self, exchange: Exchange, token: str, max_age: int) -> tuple[bytes, bytes]:
        """`max_age`: seconds; 0: the browser forgets it."""
        secure = self._proxies.is_secure(exchange.scope)
        name = _SECURE_NAME if secure else _PLAIN_NAME
        parts = [f"{name}={token}", "Path=/", f"Max-Age={max_age}", "HttpOnly", "SameSite=Strict"]
        if secure:
            parts.append("Secure")
        return b"set-cookie", "; ".join(parts).encode()


def _key_of(body: dict[str, Any]) -> str:
    """The only member of the body. Raises `InvalidRequest`."""
    for name in body:
        if name != "key":
            raise unknown_parameter(name)
    if "key" not in body:
        raise missing_parameter("key")
    key = body["key"]
    if not isinstance(key, str) or len(key) > limits.MAX_ID:
        raise InvalidRequest("Invalid type for 'key': expected an API key.", code="invalid_type", param="key")
    return key


def _check_same_origin(headers: Mapping[bytes, bytes]) -> None:
    """Raise `PermissionDenied` if the browser says that a page of another origin has made the request.

    Clients that are no browsers send neither header. Schemes are not compared: behind a proxy this server may not know
    its own; the hosts with their ports must be the same.
    """
    site = headers.get(b"sec-fetch-site")
    if site is not None and site != b"same-origin":
        raise _forbidden("A page of another site has made this request.")
    origin = headers.get(b"origin")
    if origin is not None and not _is_host(origin.decode("latin-1"), headers.get(b"host", b"").decode("latin-1")):
        raise _forbidden("A page of another origin has made this request.")


def _is_host(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
        return parts.scheme in ("http", "https") and bool(host) and parts.netloc.lower() == host.lower()
    except ValueError:
        return False


def _forbidden(message: str) -> PermissionDenied:
    return PermissionDenied(message, code="csrf_check_failed")
