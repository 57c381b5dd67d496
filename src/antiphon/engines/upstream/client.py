"""Calls of upstreams: what is sent, what is made of the answer, and one pool of connections for each origin.

No redirects are followed, no proxies or credentials are taken from the environment, no cookies are kept, and nothing
compressed is asked for or read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit

from antiphon import __version__
from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError, Overloaded
from antiphon.domain.routing import Deadlines, UpstreamSpec
from antiphon.domain.trace_context import PASSED_HEADERS, PRINTABLE
from antiphon.engines.upstream import errors, http1
from antiphon.engines.upstream.reply import BodyMemory, Reply
from antiphon.engines.upstream.scrubber import Scrubber
from antiphon.engines.upstream.secrets import SecretSource

_PORTS = {"http": 80, "https": 443}


class ConnectionPools:
    """The connections to all upstreams. One for each server; each is opened in the loop that first needs it."""

    def __init__(self) -> None:
        self._budget = http1.ConnectionBudget()
        self.bodies = BodyMemory()
        self._pools: dict[tuple[str, int, bool], http1.Pool] = {}

    def pool(self, host: str, port: int, *, tls: bool) -> http1.Pool:
        """The connections to one origin."""
        pool = self._pools.get((host, port, tls))
        if pool is None:
            keep_alive = limits.UPSTREAM_KEEP_ALIVE_TLS if tls else limits.UPSTREAM_KEEP_ALIVE
            pool = http1.Pool(host, port, tls=tls, keep_alive=keep_alive, budget=self._budget)
            self._pools[host, port, tls] = pool
        return pool

    async def close(self) -> None:
        """Close all connections. The next use opens new ones."""
        for pool in self._pools.values():
            pool.close()


class UpstreamClient:
    """Calls one upstream. Everything it raises is a domain error; `errors.retry` says which can be tried again."""

    def __init__(self, spec: UpstreamSpec, connections: ConnectionPools, secret: SecretSource | None = None) -> None:
        """Reads the secret: raises `SetupError` if there is none where the spec says."""
        self.spec = spec
        self._secret = secret or SecretSource(spec.name, spec.secret)
        parts = urlsplit(spec.url.rstrip("/"))
        self._host = parts.hostname or ""
        self._path = parts.path
        self._name = parts.netloc
        tls = parts.scheme == "https"
        self._bodies = connections.bodies
        self._pool = connections.pool(self._host, parts.port or _PORTS[parts.scheme], tls=tls)
        self._heads: tuple[str | None, dict[tuple[str, str, str], bytes]] = (None, {})
        self._configured = frozenset(name.lower() for name in spec.headers)
        self._running: set[Reply] = set()
        self._scrubber: tuple[str | None, Scrubber] | None = None

    @property
    def scrubber(self) -> Scrubber:
        """What cleans this upstream's words."""
        secret = self._secret.value
        if self._scrubber is None or self._scrubber[0] != secret:
            self._scrubber = secret, Scrubber(secret, self._host)
        return self._scrubber[1]

    async def post(
        self,
        path: str,
        body: bytes,
        *,
        stream: bool,
        deadlines: Deadlines,
        repeatable: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send JSON to `path` (such as "/chat/completions"), and give the answer when its headers have come.

        A path that begins with ".." is one of the server's own, beside its "/v1".
        `stream`: whether events were asked for; their headers must come by the deadline for the first token, and those
        of a whole body by the one for the whole. `repeatable`: it costs and changes nothing, so it may be sent again
        where it met a connection that was just being closed. `headers`: of this request only, as far as they may be
        passed on (`domain.trace_context`).

        Raises `InvalidRequest`, `ContextLengthExceeded`, `NotFound`, `PayloadTooLarge`, `RateLimited`, `Overloaded`,
        `UpstreamFailed` or `DeadlineExceeded`.
        """
        accept = "text/event-stream" if stream else "application/json"
        return await self._request(
            "POST",
            path,
            body,
            accept,
            deadlines,
            stream=stream,
            repeatable=repeatable,
            more=self._more_head(headers) if headers else b"",
        )

    async def get(self, path: str, *, deadlines: Deadlines) -> bytes:
        """The JSON at `path`. Raises as `post`."""
        reply = await self._request("GET", path, None, "application/json", deadlines, stream=False, repeatable=True)
        return await reply.body()

    def stop(self) -> None:
        """End all answers that are under way: reading one raises `UpstreamFailed`."""
        for reply in tuple(self._running):
            reply.abort()

    async def _request(
        self,
        method: str,
        path: str,
        body: bytes | None,
        accept: str,
        deadlines: Deadlines,
        *,
        stream: bool,
        repeatable: bool,
        more: bytes = b"",
    ) -> Reply:
        """`more`: header lines of this request only."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        whole = deadlines.total(streamed=stream)
        until = began + (min(deadlines.first, whole) if stream else whole)
        again = limits.UPSTREAM_STALE if repeatable else 0
        response = await self._send(method, path, body, accept, deadlines, until, again, more)
        if response.status == 401 and self._secret.refresh():
            response.close()
            response = await self._send(method, path, body, accept, deadlines, until, again, more)
        if not 200 <= response.status < 300:
            raise await self._refused(response)
        kind = response.content_type
        if kind == "text/html" or kind.startswith(("image/", "audio/", "video/", "multipart/")):
            response.close()
            raise errors.invalid("a body that is not JSON")
        if response.headers.get("Content-Encoding", "").lower() not in {"", "identity"}:  # type: ignore[union-attr]
            response.close()
            raise errors.invalid("a compressed body that it was not asked for")
        reply = Reply(
            response,
            began=began,
            deadlines=deadlines,
            loop=loop,
            released=self._running.discard,
            asked=stream,
            bodies=self._bodies,
        )
        self._running.add(reply)
        return reply

    async def _send(
        self,
        method: str,
        path: str,
        body: bytes | None,
        accept: str,
        deadlines: Deadlines,
        until: float,
        again: int,
        more: bytes,
    ) -> http1.Response:
        """One request, up to the headers of its answer."""
        head = self._head(method, path, accept)
        if more:
            head += more
        request = head + b"\r\n" if body is None else b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)
        try:
            return await self._pool.request(request, connect=deadlines.connect, until=until, again=again)
        except http1.TransportError as fault:
            raise _error(fault) from None

    async def _refused(self, response: http1.Response) -> AntiphonError:
        """The error for a status that is not 2xx. What the upstream says of it is read, as far as it is short."""
        body = bytearray()
        try:
            async with asyncio.timeout(limits.UPSTREAM_ERROR_WAIT):
                while len(body) < limits.MAX_UPSTREAM_ERROR and (piece := await response.readany()):
                    body += piece
        except (TimeoutError, http1.TransportError):
            pass  # the status says enough
        finally:
            response.close()
        return errors.refused(response.status, response.headers, bytes(body), self.scrubber)

    def _more_head(self, headers: Mapping[str, str]) -> bytes:
        """Header lines for one request: those that may be passed on, and are not configured for this upstream."""
        lines = [
            f"{name}: {value}\r\n"
            for name, value in headers.items()
            if name in PASSED_HEADERS and name not in self._configured and PRINTABLE.fullmatch(value)
        ]
        return "".join(lines).encode("ascii")

    # --- what is the same for many requests ---------------------------------------------------------------------------
    def _head(self, method: str, path: str, accept: str) -> bytes:
        """The head of a request without the length of its body. It is made once for each kind of request."""
        secret = self._secret.value
        if self._heads[0] != secret:
            self._heads = secret, {}
        heads = self._heads[1]
        head = heads.get((method, path, accept))
        if head is None:
            head = heads[method, path, accept] = self._make_head(method, path, accept, secret)
        return head

    def _make_head(self, method: str, path: str, accept: str, secret: str | None) -> bytes:
        target = self._path.removesuffix("/v1") + path[2:] if path.startswith("..") else self._path + path
        headers = {"user-agent": f"Antiphon/{__version__}"}
        headers |= {name.lower(): value for name, value in self.spec.headers.items()}
        headers |= {"host": self._name, "content-type": "application/json", "accept": accept}
        headers["accept-encoding"] = "identity"
        if secret is not None:
            headers["authorization"] = f"Bearer {secret}"
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        if any(forbidden in line for line in lines for forbidden in "\r\n\0"):
            raise errors.unreachable()
        return "".join(f"{line}\r\n" for line in lines).encode("latin-1", "replace")


def _error(fault: http1.TransportError) -> AntiphonError:
    """The client's error for a failure before there was an answer."""
    if isinstance(fault, http1.Timeout):
        return errors.late("to connect", paid=False) if fault.connecting else errors.late("to begin its answer")
    if isinstance(fault, http1.ProtocolError):
        return errors.invalid("something that is not HTTP")
    if isinstance(fault, http1.PoolExhausted):
        return Overloaded("Too many calls of upstreams are running on this server.")
    if isinstance(fault, http1.ConnectionLost) and fault.stale:
        return errors.not_taken()
    return errors.unreachable() if isinstance(fault, http1.Unreachable) else errors.broken()
