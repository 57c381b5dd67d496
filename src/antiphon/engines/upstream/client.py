"""HTTP to upstreams: one pool of connections for all of them, and one client for each.

aiohttp sets TCP_NODELAY itself. No redirects are followed, no proxies or credentials are taken from the environment, no
cookies are kept, and nothing compressed is asked for or read.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from antiphon import __version__
from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError
from antiphon.domain.routing import Deadlines, UpstreamSpec
from antiphon.engines.upstream import errors
from antiphon.engines.upstream.reply import Faults, Reply
from antiphon.engines.upstream.secrets import SecretSource

if TYPE_CHECKING:
    import aiohttp
    from multidict import CIMultiDict

#: Larger bodies are sent in pieces, so that writing one does not hold up the loop.
_WRITTEN_AT_ONCE = 256 * limits.KIB


class Connections:
    """The connections to all upstreams. One for each server; opened when it is first used, in the loop that uses it."""

    def __init__(self) -> None:
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self.faults: Faults = ()

    def session(self, *, tls: bool) -> aiohttp.ClientSession:
        """The session for upstreams with or without TLS."""
        session = self._sessions.get(tls)
        if session is None or session.closed:
            session = self._sessions[tls] = self._open(tls=tls)
        return session

    def _open(self, *, tls: bool) -> aiohttp.ClientSession:
        import aiohttp  # a server without upstreams does not pay for it

        from antiphon.engines.upstream.pool import Connector

        self.faults = (aiohttp.ClientError, ConnectionError, OSError, RuntimeError)
        keep_alive = limits.UPSTREAM_KEEP_ALIVE_TLS if tls else limits.UPSTREAM_KEEP_ALIVE
        return aiohttp.ClientSession(
            connector=Connector(limit=limits.UPSTREAM_CONNECTIONS, keepalive_timeout=keep_alive),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=limits.UPSTREAM_READ_AHEAD,
            timeout=aiohttp.ClientTimeout(total=None),
        )

    async def close(self) -> None:
        """Close all connections. The next use opens new ones."""
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()


class UpstreamClient:
    """Calls one upstream. Everything it raises is a domain error; `errors.retry` says which can be tried again."""

    def __init__(self, spec: UpstreamSpec, connections: Connections, secret: SecretSource | None = None) -> None:
        """Reads the secret: raises `SetupError` if there is none where the spec says."""
        from yarl import URL

        self.spec = spec
        self._connections = connections
        self._secret = secret or SecretSource(spec.name, spec.secret)
        self._base = URL(spec.url.rstrip("/"))
        self._tls = self._base.scheme == "https"
        self._urls: dict[str, URL] = {}
        self._timeouts: dict[float, Any] = {}
        self._headers: tuple[str | None, CIMultiDict[str]] | None = None
        self._scrubber: tuple[str | None, errors.Scrubber] | None = None
        self._running: set[Reply] = set()

    @property
    def scrubber(self) -> errors.Scrubber:
        """What cleans this upstream's words."""
        secret = self._secret.value
        if self._scrubber is None or self._scrubber[0] != secret:
            self._scrubber = secret, errors.Scrubber(secret, self._base.host or "")
        return self._scrubber[1]

    async def post(self, path: str, body: bytes, *, stream: bool, deadlines: Deadlines) -> Reply:
        """Send JSON to `path` (such as "/chat/completions"), and give the answer when its headers have come.

        A path that begins with ".." is one of the server's own, beside its "/v1".
        `stream`: whether events were asked for; their headers must come by the deadline for the first token, and those
        of a whole body by the one for the whole. Raises `InvalidRequest`, `ContextLengthExceeded`, `NotFound`,
        `PayloadTooLarge`, `RateLimited`, `Overloaded`, `UpstreamFailed` or `DeadlineExceeded`.
        """
        accept = "text/event-stream" if stream else "application/json"
        reply = await self._request("POST", path, body, accept, deadlines, stream=stream)
        if reply.headers.get("Content-Encoding", "identity") != "identity":
            reply.close()
            raise errors.invalid("a compressed body that it was not asked for")
        return reply

    async def get(self, path: str, *, deadlines: Deadlines) -> bytes:
        """The JSON at `path`. Raises as `post`."""
        reply = await self._request("GET", path, None, "application/json", deadlines, stream=False)
        return await reply.body()

    def stop(self) -> None:
        """End all answers that are running: whoever reads one gets `UpstreamFailed`."""
        for reply in tuple(self._running):
            reply.abort()

    async def _request(
        self, method: str, path: str, body: bytes | None, accept: str, deadlines: Deadlines, *, stream: bool
    ) -> Reply:
        loop = asyncio.get_running_loop()
        began = loop.time()
        whole = deadlines.total(streamed=stream)
        until = began + (min(deadlines.first, whole) if stream else whole)
        response = await self._send(method, path, body, accept, deadlines, until)
        if response.status == 401 and self._secret.refresh():
            response.close()
            response = await self._send(method, path, body, accept, deadlines, until)
        if not 200 <= response.status < 300:
            raise await self._refused(response)
        kind = response.content_type
        if not (kind == "application/json" or kind.endswith("+json") or (stream and kind == "text/event-stream")):
            response.close()
            raise errors.invalid("a body that is not JSON")
        reply = Reply(
            response,
            self._connections.faults,
            began=began,
            deadlines=deadlines,
            loop=loop,
            released=self._running.discard,
        )
        self._running.add(reply)
        return reply

    async def _send(
        self, method: str, path: str, body: bytes | None, accept: str, deadlines: Deadlines, until: float
    ) -> aiohttp.ClientResponse:
        """One request, up to the headers of its answer."""
        session = self._connections.session(tls=self._tls)
        headers = self._headers_now().copy()
        headers["Accept"] = accept
        tries = limits.UPSTREAM_STALE
        while True:
            try:
                async with asyncio.timeout_at(until):
                    return await session.request(
                        method,
                        self._url(path),
                        data=io.BytesIO(body) if body is not None and len(body) > _WRITTEN_AT_ONCE else body,
                        headers=headers,
                        timeout=self._timeout(deadlines.connect),
                        allow_redirects=False,
                    )
            except TimeoutError as error:
                raise _late(error) from None
            except self._connections.faults as error:
                from antiphon.engines.upstream.pool import gone_stale

                tries -= 1
                if tries == 0 or not gone_stale(error):
                    raise _fault(error) from None

    async def _refused(self, response: aiohttp.ClientResponse) -> AntiphonError:
        """The error for a status that is not 2xx. What the upstream says of it is read, as far as it is short."""
        body = b""
        faults: Faults = (TimeoutError, *self._connections.faults)
        try:
            async with asyncio.timeout(limits.UPSTREAM_ERROR_WAIT):
                while len(body) < limits.MAX_UPSTREAM_ERROR and (piece := await response.content.readany()):
                    body += piece
        except faults:
            pass  # the status says enough
        finally:
            response.close()
        return errors.refused(response.status, response.headers, body, self.scrubber)

    # --- what is the same for many requests ---------------------------------------------------------------------------
    def _url(self, path: str) -> Any:
        url = self._urls.get(path)
        if url is None:
            base = self._base.path.rstrip("/")
            whole = base.removesuffix("/v1") + path[2:] if path.startswith("..") else base + path
            url = self._urls[path] = self._base.with_path(whole)
        return url

    def _timeout(self, connect: float) -> Any:
        timeout = self._timeouts.get(connect)
        if timeout is None:
            import aiohttp

            timeout = aiohttp.ClientTimeout(total=None, connect=connect, sock_connect=connect)
            self._timeouts[connect] = timeout
        return timeout

    def _headers_now(self) -> CIMultiDict[str]:
        secret = self._secret.value
        if self._headers is None or self._headers[0] != secret:
            self._headers = secret, self._make_headers(self.spec.headers, secret)
        return self._headers[1]

    @staticmethod
    def _make_headers(configured: Mapping[str, str], secret: str | None) -> CIMultiDict[str]:
        from multidict import CIMultiDict

        headers = CIMultiDict({"User-Agent": f"Antiphon/{__version__}"})
        headers.update(configured)
        headers["Content-Type"] = "application/json"
        headers["Accept-Encoding"] = "identity"
        if secret is not None:
            headers["Authorization"] = f"Bearer {secret}"
        return headers


def _late(error: TimeoutError) -> AntiphonError:
    from aiohttp import ConnectionTimeoutError

    return errors.late("to connect" if isinstance(error, ConnectionTimeoutError) else "to begin its answer")


def _fault(error: Exception) -> AntiphonError:
    """What went wrong before there was an answer. Nothing of `error` is shown: it names the address."""
    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientSSLError):
        return errors.unreachable()
    if isinstance(error, aiohttp.ClientResponseError):
        return errors.invalid("something that is not HTTP")
    return errors.broken()
