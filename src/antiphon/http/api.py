"""The ASGI application: routes, authentication, and one place where errors become answers."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from antiphon.domain import limits
from antiphon.domain.caching import cache_control_of
from antiphon.domain.errors import (
    AntiphonError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    RequestTimeout,
)
from antiphon.domain.tenancy import Caller
from antiphon.domain.trace_context import trace_headers
from antiphon.http.answers import new_request_id
from antiphon.http.body_budget import BodyBudget, BodyRefused
from antiphon.http.disconnect import ClientGone
from antiphon.http.exchange import Exchange
from antiphon.http.files import RangeNotSatisfiable
from antiphon.http.proxies import Proxies
from antiphon.http.resource import Handler, Resource, SocketResource
from antiphon.http.session_cookies import SessionCookies
from antiphon.http.sockets import SocketServer
from antiphon.policy.administration import roles
from antiphon.policy.administration.authenticate import AdminAuthenticator
from antiphon.policy.authenticate import Authenticator
from antiphon.policy.call import Call, Headers
from antiphon.policy.keys.permit import permit
from antiphon.policy.observe.observer import Observer
from antiphon.policy.pipeline.pipeline import Pipeline
from antiphon.telemetry.logs import logger
from antiphon.wire import endpoints
from antiphon.wire import json as wire_json

#: Serves an exchange with a handler; it is given the resource's path.
Wrapper = Callable[[Exchange, str, Handler], Awaitable[None]]

_log = logger(__name__)
#: The answer to a CORS preflight where no origins are set; where they are, `Cors` answers it.
_NO_CORS = (
    "This server takes no calls from browsers. Whoever runs it allows a web page by its origin: cors_origins "
    "(--cors-origins https://app.example, or ANTIPHON_CORS_ORIGINS)."
)
_CLIENT_ID = re.compile(r"[\x20-\x7e]*")


class Api:
    """The whole API as an ASGI application, free of any server."""

    def __init__(
        self,
        resources: Sequence[Resource | SocketResource],
        authenticate: Authenticator,
        authenticate_admin: AdminAuthenticator,
        pipeline: Pipeline,
        observer: Observer,
        *,
        max_body: int = limits.MAX_BODY,
        sessions: SessionCookies | None = None,
        idempotent: Wrapper | None = None,
        proxies: Proxies | None = None,
        notices: Callable[[str], Headers] = lambda path: [],
    ) -> None:
        """`resources`: a path that may stand for another one, by a parameter, comes after it.

        `sessions`: recognises callers by their cookies, where they send no key. `idempotent`: called in place of every
        handler of a resource that needs a key, with the handler and the resource's path. `proxies`: those that are
        trusted to tell where a call came from; None: there are none. `notices`: headers for all answers of a resource
        that needs a key, by its path.
        """
        self._proxies = proxies or Proxies(())
        self._sessions = sessions
        self._authenticate = authenticate
        self._authenticate_admin = authenticate_admin
        self._pipeline = pipeline
        self._observer = observer
        self._idempotent = idempotent
        self._max_body = max_body
        # One body of the largest size must always fit, and some beside it.
        self._body_budget = BodyBudget(max(limits.MAX_BODIES, 2 * max_body))
        plain = [resource for resource in resources if isinstance(resource, Resource)]
        sockets = [resource for resource in resources if isinstance(resource, SocketResource)]
        self._sockets = SocketServer(sockets, self._find_caller, self._proxies)
        #: Every method that some resource has.
        self.methods = frozenset(method for resource in plain for method in resource.methods)
        self._notices = {each.path: headers for each in plain if (headers := notices(each.path))}
        routes = [Route(resource.path, _Endpoint(resource, self)) for resource in plain]
        #: Most paths have no parameters: those need not be matched one by one.
        self._plain = {route.path: route.endpoint for route in routes if "{" not in route.path}
        self._router = Router(routes, redirect_slashes=False, default=self._unknown_path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's exchange, or a WebSocket for as long as it is open."""
        if scope["type"] == "websocket":
            await self._sockets(scope, receive, send)
        elif scope["type"] == "http":
            exchange = Exchange(
                scope, receive, send, new_request_id(), max_body=self._max_body, body_budget=self._body_budget
            )
            scope["antiphon.exchange"] = exchange
            await self._serve(exchange, scope, receive, send)
            # Exchange and scope refer to each other. Without the cycle both are freed at once, without the collector.
            del scope["antiphon.exchange"]

    def has_socket(self, path: str) -> bool:
        """Whether this path (without its query) may be opened as a WebSocket."""
        return self._sockets.find(path) is not None

    def close_sockets(self) -> None:
        """The server stops: have every WebSocket end what it does, and close."""
        self._sockets.close()

    async def _serve(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        code: str | None = None
        self._observer.in_flight += 1
        try:
            _check_client_request_id(exchange)
            if exchange.method == "OPTIONS" and exchange.header(b"access-control-request-method") is not None:
                raise MethodNotAllowed(_NO_CORS, code="cors_not_set")
            endpoint = self._plain.get(scope["path"])
            if endpoint is None:
                await self._router(scope, receive, send)
            else:
                scope["endpoint"], scope["path_params"] = endpoint, {}
                await endpoint(scope, receive, send)
        except AntiphonError as error:
            code = error.code or error.type
            await _reply_error(exchange, error)
        except ClientGone:
            code = "client_gone"
            exchange.status = exchange.status or 499
        except Exception as error:
            code = "server_error"
            _log.error("request failed", request_id=exchange.request_id, exc_info=error)
            await _reply_error(exchange, AntiphonError("The server had an error while processing your request."))
        finally:
            self._observer.in_flight -= 1
            exchange.close()
            self._finish(exchange, code or exchange.error_code)

    def _finish(self, exchange: Exchange, code: str | None) -> None:
        """Have the exchange counted and logged."""
        if exchange.call is not None:
            self._pipeline.close(exchange.call, exchange.status, code)
            return
        scope = exchange.scope
        self._observer.answered(
            _template(scope),
            exchange.method,
            exchange.status,
            time.monotonic() - exchange.began,
            exchange.request_id,
            code,
            admin=None if exchange.admin is None else exchange.admin.id,
            # Health checks come every few seconds; they are not worth a line of log.
            quiet=scope.get("antiphon.open", False),
        )

    async def authorize(self, exchange: Exchange, resource: Resource) -> None:
        """Authenticate the caller and check its permissions. Raises what refuses the call."""
        exchange.client_address = self._proxies.origin(exchange.scope)
        if resource.access == "admin":
            exchange.administrator = await self._authenticate_admin(exchange.header(b"authorization"))
            project_id = exchange.scope["path_params"].get("project_id")
            roles.check(exchange.administrator, exchange.method, resource.path, project_id)
        elif resource.access == "key":
            authorization = exchange.header(b"authorization")
            if authorization is None:
                caller = await self._find_caller(exchange.method, exchange.headers, exchange.scope)
            else:
                caller = await self._authenticate(authorization)
            exchange.project_id = caller.project.id
            permit(caller, resource.scopes.get(exchange.method), exchange.client_address)
            exchange.call = Call(
                caller,
                resource.path,
                exchange.request_id,
                time.time(),
                began=exchange.began,
                method=exchange.method,
                address=exchange.client_address,
            )
            if traceparent := exchange.header(b"traceparent"):
                exchange.call.upstream_headers = trace_headers(traceparent, exchange.header(b"tracestate"))
            exchange.call.headers += self._notices.get(resource.path, ())
            exchange.call.cache_control = cache_control_of(
                exchange.header(b"x-antiphon-cache"), exchange.header(b"cache-control")
            )

    async def _find_caller(self, method: str, headers: Mapping[bytes, bytes], scope: Scope) -> Caller:
        """Who is calling: by the key that was sent or, without one, by the cookie of a session."""
        authorization = headers.get(b"authorization")
        if authorization is None and self._sessions is not None and b"cookie" in headers:
            caller = await self._sessions.find_caller(method, headers, scope)
            if caller is not None:
                return caller
        return await self._authenticate(None if authorization is None else authorization.decode("latin-1"))

    async def handle(self, exchange: Exchange, resource: Resource, handler: Handler) -> None:
        """Call a handler; with an `Idempotency-Key`, once for each key."""
        if resource.streams_body and exchange.method == "POST":
            if exchange.header(b"idempotency-key") is not None:
                raise InvalidRequest(
                    "The header 'Idempotency-Key' is not supported for uploads.",
                    code="unsupported_header",
                    param="Idempotency-Key",
                )
            await handler(exchange)
        elif self._idempotent is None or resource.access != "key":
            await handler(exchange)
        else:
            await self._idempotent(exchange, resource.path, handler)

    async def _unknown_path(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope["antiphon.exchange"]
        if scope["path"].startswith("/v1/organization/"):
            await self._authenticate_admin(exchange.header(b"authorization"))
        elif scope["path"].startswith("/v1/"):
            caller = await self._find_caller(exchange.method, exchange.headers, scope)
            permit(caller, None, self._proxies.origin(scope))
        known = endpoints.find(scope["path"])
        if known is not None:
            raise NotFound(f"Antiphon does not serve {known.path} yet.", code="not_served")
        raise NotFound(f"Invalid URL ({exchange.method} {scope['path'][:200]}).", code="unknown_url")


class _Endpoint:
    """One resource as the ASGI application that Starlette's router calls."""

    def __init__(self, resource: Resource, api: Api) -> None:
        self._resource = resource
        self._api = api
        self.methods = resource.methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope["antiphon.exchange"]
        scope["antiphon.template"] = self._resource.path
        scope["antiphon.open"] = self._resource.access == "open"
        await self._api.authorize(exchange, self._resource)
        handler = self._resource.methods.get(exchange.method)
        if handler is None:
            known = endpoints.find(scope["path"])
            if known is not None and exchange.method in known.methods:
                raise MethodNotAllowed(
                    f"Antiphon does not serve {exchange.method} {known.path} yet.", code="not_served"
                )
            raise MethodNotAllowed(
                f"Not allowed to {exchange.method} on {self._resource.path}. "
                f"Allowed: {', '.join(self._resource.methods)}."
            )
        await self._api.handle(exchange, self._resource, handler)


def _template(scope: Scope) -> str:
    """The route's path, never the caller's: what a caller writes does not go into the log."""
    template: str = scope.get("antiphon.template", "unknown")
    return template


def _check_client_request_id(exchange: Exchange) -> None:
    """`X-Client-Request-Id`: ASCII, at most 512 characters (published documentation of the API)."""
    value = exchange.header(b"x-client-request-id")
    if value is not None and (len(value) > limits.MAX_CLIENT_REQUEST_ID or not _CLIENT_ID.fullmatch(value)):
        raise InvalidRequest(
            f"The header 'X-Client-Request-Id' must be ASCII of at most {limits.MAX_CLIENT_REQUEST_ID} characters.",
            code="invalid_header",
            param="X-Client-Request-Id",
        )


async def _reply_error(exchange: Exchange, error: AntiphonError) -> None:
    if exchange.started:
        # Part of an answer is out: all that is left is to break it off, so that no one takes it for whole.
        _log.error("answer broken off", request_id=exchange.request_id, reason=error.code or type(error).__name__)
        raise ConnectionAbortedError from None
    headers: list[tuple[bytes, bytes]] = []
    if error.retry_after is not None:
        headers.append((b"retry-after", str(error.retry_after).encode()))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", _allowed(exchange.scope)))
    if isinstance(error, RangeNotSatisfiable):
        headers.append((b"content-range", b"bytes */%d" % error.size))
    if isinstance(error, PayloadTooLarge | RequestTimeout | BodyRefused):
        # The rest of the body is still on its way; it is not worth reading.
        headers.append((b"connection", b"close"))
    body: dict[str, Any] = dict(error.body())
    await exchange.reply(error.status, wire_json.encode(body), headers)


def _allowed(scope: Scope) -> bytes:
    endpoint = scope.get("endpoint")
    methods = endpoint.methods if isinstance(endpoint, _Endpoint) else ()
    return ", ".join(methods).encode()
