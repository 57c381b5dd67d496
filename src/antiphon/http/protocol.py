"""One connection of a client: the bounds and the strictness that uvicorn's protocol over httptools lacks.

Theory of operation. The parser (httptools) is fed with what arrives and calls back: a head begins, a header, the head
is complete, a piece of the body, the message is complete. RFC 9112 is the protocol. At any time a connection is

* in a head (`_in_head`), with a timer from its first byte on; or
* in a body, which is passed on to the request as it comes. Its reader's pace is the client's: uvicorn stops reading at
  64 KiB that nobody has asked for.

Bytes that belong to no body are counted on their own (`_head_bytes`, `_coding_bytes`), since nothing else bounds them.

Requests that are sent ahead wait: when a head is complete while an earlier request has no answer yet, nothing behind it
is parsed (`_held`), and nothing is read, until that answer is complete.

A request for another protocol stops the parser after its head (`_Switch`). Either the connection becomes a WebSocket,
or a new parser gets the head without that header: the request is served as any other, as the connection's last.

What is refused here never becomes a request: it is answered at once, unless an earlier answer is still being sent, and
ends the connection (`_deaf`: whatever still arrives is ignored).
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from typing import Any

import httptools

from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError, InvalidRequest, Overloaded, RequestTimeout
from antiphon.http.answers import answer_headers, new_request_id
from antiphon.http.connection_limit import ConnectionLimit
from antiphon.http.disconnect import SCOPE_KEY, ClientConnection
from antiphon.http.uvicorn_adapter import HttpConnection, status_line
from antiphon.wire import json as wire_json

#: Headers that decide where a request ends, or whom it is for.
_FRAMING = frozenset({b"host", b"expect", b"transfer-encoding", b"content-length"})
#: What the host of a URI and its port are made of (RFC 3986, 3.2.2).
_HOST = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=%:[]"
#: Digits of a length; the parser itself takes any number of zeros before it.
_LENGTH_DIGITS = 19


class _HeadTooLarge(AntiphonError):
    status = 431
    type = "invalid_request_error"
    code = "headers_too_large"


class _Refused(Exception):
    """Raised within the parser, which then parses no further; the answer has been written."""


class _Switch(enum.Enum):
    """The decision about a request that asks for another protocol."""

    SOCKET = "it becomes a WebSocket"
    DECLINED = "it is served as if it had not asked"


class BoundedProtocol(HttpConnection):
    """Ends connections whose requests are too large, too slow or not HTTP; uvicorn would wait and read for ever.

    At most one timer runs: for a head, or for the rest of a body whose request has its answer already.
    """

    def __init__(
        self, *args: Any, connection_limit: ConnectionLimit, has_socket: Callable[[str], bool], **kwargs: Any
    ) -> None:
        """`has_socket`: whether a path may be opened as a WebSocket."""
        super().__init__(*args, **kwargs)
        self._has_socket = has_socket
        self._connection_limit = connection_limit
        self._turned_away = False
        self._head_bytes = 0
        self._in_head = True
        self._hosts = 0
        #: Bytes of the body's transfer coding (sizes of chunks, their extensions, trailers) that no body makes up for.
        self._coding_bytes = 0
        self._switch: _Switch | None = None
        #: This request is the connection's last. `_deaf`: whatever still arrives is ignored.
        self._last = False
        self._deaf = False
        #: Bytes that came behind a request that waits for its turn, not parsed yet.
        self._held = b""
        self._timer: asyncio.TimerHandle | None = None
        self._connection = ClientConnection()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own narrowing
        """A connection opens: its first head is due."""
        admitted = self._connection_limit.admits(self.open_connections, transport)
        self.accept(transport)
        if admitted:
            self._await_head()
        else:
            self._turn_away()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._stop_timer()
        self._deaf, self._held = True, b""
        if self._turned_away:
            self._connection_limit.lingering_ended()
        self._connection.mark_lost()
        super().connection_lost(exc)

    # --- incoming bytes -----------------------------------------------------------------------------------------------
    def data_received(self, data: bytes) -> None:
        """Bytes have arrived: parse them, up to a request that must wait for the answers to earlier ones."""
        if self._held:
            self._hold(self._held + data)
        elif len(data) <= limits.PARSE_STEP:
            self._feed(data)
        else:
            self._feed_in_steps(data)

    def _feed_in_steps(self, data: bytes) -> None:
        """Parse a little at a time, so that sizes are checked often, and stop at a request that must wait."""
        at = 0
        while at < len(data) and not self._deaf and not self.has_waiting_request:
            self._feed(data[at : at + limits.PARSE_STEP])
            at += limits.PARSE_STEP
        self._hold(data[at:] if self.has_waiting_request else b"")

    def _hold(self, data: bytes) -> None:
        """Keep bytes that may not be parsed yet, and read no more: at most one read is kept."""
        held_before, self._held = self._held, data
        if data or held_before:
            self.hold_reading(hold=bool(data))

    def _feed(self, data: bytes) -> None:
        """Parse one piece, and count the bytes that are not part of a body."""
        if self._deaf or (self._last and self._in_head):
            return
        self.stop_idle_timer()
        if self._in_head:
            if self._timer is None:
                self._await_head()
            self._head_bytes += len(data)
        else:
            self._coding_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(InvalidRequest("The request is not valid HTTP.", code="malformed_request"))
        if self._in_head:
            if self._head_bytes > limits.MAX_HEADERS:
                self._refuse(_head_too_large())
        elif self._coding_bytes > limits.MAX_HEADERS:
            self._refuse(_coding_too_large())

    # --- callbacks of the parser --------------------------------------------------------------------------------------
    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._hosts = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header of a head. Trailers behind a chunked body are ignored: no handler uses them."""
        if self._in_head:
            name = name.lower()
            if name in _FRAMING:
                self._check_header(name, value)
            self.headers.append((name, value))

    def _check_header(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self._hosts += 1
            if value.translate(None, _HOST):
                raise self._malformed("its Host header is no host")
        elif name == b"expect":
            self.expect_100_continue = value.lower() == b"100-continue"
        elif name == b"content-length":
            if len(value) > _LENGTH_DIGITS:
                raise self._malformed("its Content-Length is no length")
        elif value.lower() != b"chunked" or any(other == name for other, _ in self.headers):
            raise self._malformed("the only transfer coding that is taken is 'chunked'")

    def on_headers_complete(self) -> None:
        """The head is whole. Raising here ends the connection."""
        # What came with the head in one piece is counted with it; only then is a closer look needed.
        if self._head_bytes > limits.MAX_HEADERS:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > limits.MAX_HEADERS:
                self._refuse(_head_too_large())
                raise _Refused
        version = self.parser.get_http_version()
        self._check_version(version)
        self._stop_timer()
        declined = self._switch is _Switch.DECLINED
        if self.parser.should_upgrade():
            self._switch = self._switch_of(version)
            return
        self._switch = None
        self._in_head = False
        self._coding_bytes = 0
        self._connection.request_complete = False
        self.begin_request(SCOPE_KEY, self._connection)
        if declined:
            self.close_after_answer()
        self._last = not self.stays_open

    def _check_version(self, version: str) -> None:
        """RFC 9112, sections 2.3 and 3.2, and 6.1 for transfer codings."""
        if version == "1.1":
            if self._hosts != 1:
                raise self._malformed("HTTP/1.1 asks for exactly one Host header")
        elif version != "1.0":
            raise self._malformed("HTTP/1.1 and HTTP/1.0 are spoken here")
        elif self._hosts > 1 or any(name == b"transfer-encoding" for name, _ in self.headers):
            raise self._malformed("HTTP/1.0 has no more than one Host header, and no transfer codings")

    def on_body(self, body: bytes) -> None:
        """A piece of the body. Each of its bytes allows for some bytes of chunk coding."""
        left = self._coding_bytes - limits.CHUNK_CODING * len(body)
        self._coding_bytes = max(0, left)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The body is complete: another head comes next, and the connection may be idle until then."""
        if self._switch is not None:
            return
        super().on_message_complete()
        # A request that waits behind another one has its own body, which is not read yet.
        self._connection.request_complete = not self.has_waiting_request
        self._stop_timer()
        self._in_head = True
        self._head_bytes = 0

    def on_response_complete(self) -> None:
        """An answer is sent. If the request's body has not all come by then, it is discarded, and must end soon."""
        super().on_response_complete()
        if self.is_answered and not self._in_head:
            self._timer = self.loop.call_later(limits.BODY_TIMEOUT, self.transport.close)
        if self._held and not self.has_waiting_request:
            self._feed_in_steps(self._held)

    # --- other protocols ----------------------------------------------------------------------------------------------
    def _switch_of(self, version: str) -> _Switch:
        """Decide about a request that asks for another protocol, when its head is complete."""
        if self.parser.get_method() == b"CONNECT":
            raise self._malformed("this server is no proxy")
        bodiless = not any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers)
        asked = self.parser.get_method() == b"GET" and version == "1.1" and self.asks_for_websocket()
        path = self.url.partition(b"?")[0].decode("latin-1")
        return _Switch.SOCKET if asked and bodiless and self.is_idle and self._has_socket(path) else _Switch.DECLINED

    def _go_on(self, rest: bytes) -> None:
        """The parser has stopped after a head that asks for another protocol. `rest`: the bytes behind it."""
        if self._switch is _Switch.SOCKET:
            self.become_websocket()
            return
        # The parser takes such a request for one without a body. A new one gets the head without that header, so that
        # the body is read for what it is; and the connection ends with the answer.
        headers = [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        line = b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        self.replace_parser()
        self._feed(b"".join([line, *headers, b"\r\n"]))
        self._feed(rest)

    # --- refusals -----------------------------------------------------------------------------------------------------
    def _await_head(self) -> None:
        error = RequestTimeout("The request's headers did not arrive in time.")
        self._timer = self.loop.call_later(limits.HEAD_TIMEOUT, self._refuse, error)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _malformed(self, why: str) -> _Refused:
        """Refuse the request; returns the exception that stops the parser."""
        self._refuse(InvalidRequest(f"The request is not valid HTTP: {why}.", code="malformed_request"))
        return _Refused()

    def _refuse(self, error: AntiphonError) -> None:
        """Answer a request that is not served at all, and close the connection."""
        self._timer = None
        self._deaf = True
        if self.transport.is_closing():
            return
        if self.is_answering:
            # Nothing may be written into an answer that is on its way: the connection ends after it.
            self.close_after_answer()
            return
        if self._in_head or self.is_new or not self.is_answered:
            self._write(error)
        self.transport.close()

    def _write(self, error: AntiphonError) -> None:
        """An answer of our own."""
        body = wire_json.encode(error.body())
        headers = [
            *self.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            *answer_headers(new_request_id(), 0),
        ]
        if error.retry_after is not None:
            headers.append((b"retry-after", str(error.retry_after).encode()))
        lines = [status_line(error.status), *(b"%b: %b\r\n" % header for header in headers), b"\r\n", body]
        self.transport.write(b"".join(lines))

    def _turn_away(self) -> None:
        """Refuse the connection. What the client still sends is received: a reset would destroy the answer."""
        self._deaf = True
        self._write(Overloaded("Too many connections are open on this server. Please retry later."))
        self._turned_away = self._connection_limit.may_linger()
        if self._turned_away and self.transport.can_write_eof():
            self.transport.write_eof()
            self._timer = self.loop.call_later(limits.TURN_AWAY_TIMEOUT, self.transport.close)
        else:
            self.transport.close()

    def eof_received(self) -> None:
        """The client sends no more."""
        if self._turned_away:
            self.transport.close()


def _head_too_large() -> AntiphonError:
    return _HeadTooLarge(f"The request's headers are larger than {limits.MAX_HEADERS} bytes.")


def _coding_too_large() -> AntiphonError:
    return _HeadTooLarge(
        f"The trailers, or extensions of chunks, of the request's body are larger than {limits.MAX_HEADERS} bytes."
    )
