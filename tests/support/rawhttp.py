"""HTTP by hand over one socket: what a test sends goes out byte for byte, however wrong it is."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


class Closed(Exception):
    """The server has closed the connection without an answer."""


@dataclass(frozen=True)
class Answer:
    """One HTTP answer. `headers` in small letters; `body` without its transfer coding."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The `error` member of the body."""
        error: dict[str, Any] = self.json()["error"]
        return error


class Wire:
    """A connection that stays open between requests, and is opened anew when the server has closed it."""

    def __init__(self, url: str, headers: dict[str, str] | None = None, *, timeout: float = 10.0) -> None:
        place = urlsplit(url)
        self._address = (place.hostname or "", place.port or 0)
        self._host = place.netloc
        self._headers = headers or {}
        self._timeout = timeout
        self._socket: socket.socket | None = None
        self._rest = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> socket.socket:
        """The open socket."""
        if self._socket is None:
            self._socket = socket.create_connection(self._address, self._timeout)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._rest = b""
        return self._socket

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def send(self, data: bytes) -> None:
        """Send these bytes and nothing else."""
        self.open().sendall(data)

    def send_until_cut_off(self, data: bytes, times: int = 10_000) -> None:
        """Send these bytes over and over until the server hangs up, or no longer takes them."""
        self.open().settimeout(2)
        try:
            for _ in range(times):
                self.send(data)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            return
        raise AssertionError(f"the server has taken {times * len(data)} bytes")

    def head(self, method: str, path: str, headers: dict[str, str | None], length: int | None) -> bytes:
        """The head of a request. A header of None is left out."""
        given: dict[str, str | None] = {"host": self._host}
        given |= {name.lower(): value for name, value in self._headers.items()}
        if length is not None:
            given |= {"content-length": str(length), "content-type": "application/json"}
        given |= {name.lower(): value for name, value in headers.items()}
        lines = [f"{method} {path} HTTP/1.1", *(f"{n}: {v}" for n, v in given.items() if v is not None)]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"

    def ask(self, method: str, path: str, body: Any = None, **headers: str | None) -> Answer:
        """One request and its answer. `body`: bytes as they are, anything else as JSON. `_` in header names is `-`."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        head = self.head(method, path, named, None if data is None else len(data))
        self.send(head + (data or b""))
        return self.read(method)

    # --- reading ------------------------------------------------------------------------------------------------------
    def read(self, method: str = "GET") -> Answer:
        """The next answer. Raises `Closed` if the connection ends before one."""
        status, headers = self.read_head()
        if method == "HEAD" or status < 200:
            body = b""
        elif headers.get("transfer-encoding") == "chunked":
            body = b"".join(iter(self.read_chunk, b""))
        else:
            body = self._exactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            self.close()
        return Answer(status, headers, body)

    def read_head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of the next answer."""
        first, *lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1", first
        pairs = [line.lower().partition(": ") for line in lines]
        return int(status), {name: value for name, _, value in pairs}

    def read_chunk(self) -> bytes:
        """The next chunk of a chunked body; empty at its end."""
        chunk = self._exactly(int(self._until(b"\r\n"), 16))
        assert self._exactly(2) == b"\r\n"
        return chunk

    def read_until(self, mark: bytes) -> bytes:
        """Chunks until one of them completes `mark`."""
        got = b""
        while mark not in got:
            chunk = self.read_chunk()
            if not chunk:
                raise Closed
            got += chunk
        return got

    def at_end(self) -> bool:
        """Whether the server closes the connection, with nothing more to come."""
        try:
            return not self._rest and self._receive() == b""
        except ConnectionResetError:
            return True

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._rest:
            self._more()
        got, _, self._rest = self._rest.partition(mark)
        return got

    def _exactly(self, size: int) -> bytes:
        while len(self._rest) < size:
            self._more()
        got, self._rest = self._rest[:size], self._rest[size:]
        return got

    def _more(self) -> None:
        try:
            data = self._receive()
        except ConnectionResetError:
            data = b""
        if not data:
            self.close()
            raise Closed
        self._rest += data

    def _receive(self) -> bytes:
        if self._socket is None:
            raise Closed
        return self._socket.recv(1 << 16)
