"""The ASGI application: routes, authentication, and one place where errors become answers."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

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
from antiphon.domain.scopes import group_of, scope_of
from antiphon.domain.trace_context import trace_headers
from antiphon.http.body_budget import BodyBudget, BodyRefused
from antiphon.http.exchange import ClientGone, Exchange, new_request_id
from antiphon.http.proxies import Proxies
from antiphon.policy.administration import roles
from antiphon.policy.administration.authenticate import AdminAuthenticator
from antiphon.policy.authenticate import Authenticator
from antiphon.policy.call import Call, Headers
from antiphon.policy.keys.permit import permit
from antiphon.policy.observe import Observer
from antiphon.policy.pipeline.pipeline import Pipeline
from antiphon.telemetry.logs import logger
from antiphon.wire import endpoints
from antiphon.wire import json as wire_json

Handler = Callable[[Exchange], Awaitable[None]]
#: Serves an exchange with a handler; it is told the resource's path.
Wrapper = Callable[[Exchange, str, Handler], Awaitable[None]]

_log = logger(__name__)
#: What a browser is told that asks whether it may call. Where origins are set, this module is never asked that.
_NO_CORS = (
    "This server takes no calls from browsers. Whoever runs it allows a web page by its origin: cors_origins "
    "(--cors-origins https://app.example, or ANTIPHON_CORS_ORIGINS)."
)
_CLIENT_ID = re.compile(r"[\x20-\x7e]*")


#: Who may call: anybody, whoever has a project's key, whoever has an admin key.
Access = Literal["open", "key", "admin"]


class Resource:
    """One path and its methods."""

    def __init__(self, path: str, methods: Mapping[str, Handler], *, access: Access = "key") -> None:
        self.path = path
        self.methods = methods
        self.access = access
        group = group_of(path)
        #: The scopes that its methods ask of a project's key.
        self.scopes = {method: scope_of(group, method) for method in methods}


class Api:
    """The whole API as an ASGI application, free of any server."""

    def __init__(
        self,
        resources: Sequence[Resource],
        authenticate: Authenticator,
        authenticate_admin: AdminAuthenticator,
        gate: Pipeline,
        observer: Observer,
        *,
        max_body: int = limits.MAX_BODY,
        sockets: ASGIApp | None = None,
        once: Wrapper | None = None,
        proxies: Proxies | None = None,
        notices: Callable[[str], Headers] = lambda path: [],
    ) -> None:
        """`once`: called in place of every handler that needs a key, with it and the resource's path.

        `proxies`: those that are trusted to say where a call came from; None: there are none. `notices`: headers for
        all answers of a resource that needs a key, by its path.
        """
        self._proxies = proxies or Proxies(())
        self._authenticate = authenticate
        self._authenticate_admin = authenticate_admin
        self._gate = gate
        self._observer = observer
        self._once = once
        self._max_body = max_body
        # One body of the largest size must always fit, and some beside it.
        self._body_budget = BodyBudget(max(limits.MAX_BODIES, 2 * max_body))
        self._sockets = sockets
        self._notices = {each.path: headers for each in resources if (headers := notices(each.path))}
        routes = [Route(resource.path, self._endpoint(resource)) for resource in resources]
        #: Most paths have no parameters: those need not be matched one by one.
        self._plain = {route.path: route.endpoint for route in routes if "{" not in route.path}
        self._router = Router(routes, redirect_slashes=False, default=self._unknown_path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's exchange, or a WebSocket for as long as it is open."""
        if scope["type"] == "websocket":
            if self._sockets is None:
                await send({"type": "websocket.close", "code": 1008})
            else:
                await self._sockets(scope, receive, send)
        elif scope["type"] == "http":
            exchange = Exchange(
                scope, receive, send, new_request_id(), max_body=self._max_body, body_budget=self._body_budget
            )
            scope["antiphon.exchange"] = exchange
            await self._serve(exchange, scope, receive, send)
            # They know each other: parted, both go at once, and the garbage collector has nothing to do.
            del scope["antiphon.exchange"]

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
            self._over(exchange, code or exchange.error_code)

    def _over(self, exchange: Exchange, code: str | None) -> None:
        """Have it counted, and logged."""
        if exchange.call is not None:
            self._gate.close(exchange.call, exchange.status, code)
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
            # Whoever watches the process asks every few seconds; that is no news.
            quiet=scope.get("antiphon.open", False),
        )

    async def admit(self, exchange: Exchange, resource: Resource) -> None:
        """Find out who is calling, or refuse the call."""
        authorization = exchange.header(b"authorization")
        exchange.client_address = self._proxies.origin(exchange.scope)
        if resource.access == "admin":
            exchange.administrator = await self._authenticate_admin(authorization)
            project_id = exchange.scope["path_params"].get("project_id")
            roles.check(exchange.administrator, exchange.method, resource.path, project_id)
        elif resource.access == "key":
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

    async def handle(self, exchange: Exchange, resource: Resource, handler: Handler) -> None:
        """Call a handler, once for each idempotency key."""
        if self._once is None or resource.access != "key":
            await handler(exchange)
        else:
            await self._once(exchange, resource.path, handler)

    def _endpoint(self, resource: Resource) -> ASGIApp:
        return _Endpoint(resource, self)

    async def _unknown_path(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope["antiphon.exchange"]
        if scope["path"].startswith("/v1/organization/"):
            await self._authenticate_admin(exchange.header(b"authorization"))
        elif scope["path"].startswith("/v1/"):
            caller = await self._authenticate(exchange.header(b"authorization"))
            permit(caller, None, self._proxies.origin(scope))
        known = endpoints.find(scope["path"])
        if known is not None:
            raise NotFound(f"Antiphon does not serve {known.path} yet.", code="not_served")
        raise NotFound(f"Invalid URL ({exchange.method} {scope['path'][:200]}).", code="unknown_url")


class _Endpoint:
    """A resource as the ASGI application that Starlette's router calls."""

    def __init__(self, resource: Resource, api: Api) -> None:
        self._resource = resource
        self._api = api
        self.methods = resource.methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope["antiphon.exchange"]
        scope["antiphon.template"] = self._resource.path
        scope["antiphon.open"] = self._resource.access == "open"
        await self._api.admit(exchange, self._resource)
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
    if isinstance(error, PayloadTooLarge | RequestTimeout | BodyRefused):
        # The rest of the body is still on its way; it is not worth reading.
        headers.append((b"connection", b"close"))
    body: dict[str, Any] = dict(error.body())
    await exchange.reply(error.status, wire_json.encode(body), headers)


def _allowed(scope: Scope) -> bytes:
    endpoint = scope.get("endpoint")
    methods = endpoint.methods if isinstance(endpoint, _Endpoint) else ()
    return ", ".join(methods).encode()
