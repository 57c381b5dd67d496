"""What is heavy on purpose: connections without a key that never end, and valid keys' bodies that cost all they can."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from antiphon.domain.limits import MIB
from support.metered import MeteredStream
from support.rawhttp import Answer, Wire

CONNECTIONS = 4
#: What one connection tries to send at most: far more than a server may keep of it.
_MOST = 64 * MIB

_POST = b"POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
_CHUNKED = _POST + b"Transfer-Encoding: chunked\r\n\r\n"
_GET = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
#: For each attack without a key: how it begins, and what is sent for ever after.
KEYLESS: dict[str, tuple[bytes, bytes]] = {
    "trailers": (_CHUNKED + b"0\r\n", b"X: y\r\n" * 4000),
    "one trailer": (_CHUNKED + b"0\r\nX: ", b"y" * 24_000),
    "extensions": (_CHUNKED, (b"1;" + b"y" * 900 + b"\r\nx\r\n") * 20),
    "one extension": (_CHUNKED + b"1;", b"y" * 24_000),
    "chunks of one byte": (_CHUNKED, b"1\r\nx\r\n" * 4000),
    "headers": (_POST, b"X: y\r\n" * 4000),
    "one header": (_POST + b"X: ", b"y" * 24_000),
    "a request line": (b"GET /", b"y" * 24_000),
    "empty lines": (b"", b"\r\n" * 12_000),
    "requests": (b"", _GET * 500),
    "requests of another protocol": (
        b"",
        _GET.replace(b"\r\n\r\n", b"\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n") * 500,
    ),
    "a body": (_POST + b"Content-Length: 52428800\r\n\r\n", b" " * 24_000),
    "a body that is waited for": (_POST + b"Expect: 100-continue\r\nContent-Length: 52428800\r\n\r\n", b" " * 24_000),
    "requests with bodies": (b"", (_POST + b"Content-Length: 20000\r\n\r\n" + b" " * 20_000) * 2),
}


def attack(url: str, start: bytes, more: bytes, most: int = _MOST) -> int:
    """Send from several connections that read nothing, until each is cut off or held up; returns the bytes sent.

    `most`: bytes that each sends at most.
    """
    place = urlsplit(url)
    sent = [0] * CONNECTIONS

    def one(number: int) -> None:
        with socket.create_connection((place.hostname or "", place.port or 0), 2) as connection:
            with contextlib.suppress(OSError):
                connection.sendall(start)
                while sent[number] < most:
                    connection.sendall(more)
                    sent[number] += len(more)
            held.wait(0.3)

    held = threading.Event()
    threads = [threading.Thread(target=one, args=(number,)) for number in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(sent)


@contextlib.contextmanager
def growth(server: MeteredStream) -> Iterator[list[int]]:
    """The most that the server has grown by (bytes) while this goes on, in the list at its end."""
    before, most, over = server.memory(), [0], threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            most[0] = max(most[0], server.memory() - before)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield most
    finally:
        over.set()
        looking.join()


def ask(server: MeteredStream, path: str, body: bytes) -> Answer:
    """One request with a key, on a connection of its own."""
    with Wire(server.url, server.headers, timeout=60) as wire:
        # The answer may come before the body is sent, and end the connection.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            wire.send(wire.head("POST", path, {}, len(body)) + body)
        return wire.read()


def _chat(messages: Any, **more: Any) -> bytes:
    return json.dumps({"model": "gpt-5-mini", "messages": messages, **more}).encode()


def _response(given: Any, **more: Any) -> bytes:
    return json.dumps({"model": "gpt-5-mini", "input": given, **more}).encode()


def _around(start: bytes, middle: bytes, end: bytes, size: int = 50 * MIB) -> bytes:
    """As much of `middle` as makes a body of `size`."""
    return start + middle * ((size - len(start) - len(end)) // len(middle)) + end


def _nested(depth: int) -> Any:
    value: Any = {"type": "string"}
    for _ in range(depth):
        value = {"type": "object", "properties": {"a": value}}
    return value


def _tool(schema: Any) -> list[Any]:
    return [{"type": "function", "function": {"name": "f", "parameters": schema}}]


def _branching(depth: int) -> Any:
    value: Any = {"type": "string"}
    for _ in range(depth):
        value = {"anyOf": [value, value]}
    return value


USER = [{"role": "user", "content": "hi"}]
_START = b'{"model":"gpt-5-mini","store":false,"input":"'
_CHAT = b'{"model":"gpt-5-mini","messages":[{"role":"user","content":"hi"}],'
_CHAT_PATH, _RESPONSES_PATH = "/v1/chat/completions", "/v1/responses"
#: Bodies by name: where they go, and how each is made.
BODIES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a long text": (_RESPONSES_PATH, lambda: _around(_START, b"a", b'"}')),
    "a long text that is kept": (_RESPONSES_PATH, lambda: _around(_START.replace(b"false", b"true"), b"a b ", b'"}')),
    "a long text of escapes": (_RESPONSES_PATH, lambda: _around(_START, b"\\u0041", b'"}')),
    "a long text of quotes": (_RESPONSES_PATH, lambda: _around(_START, b'\\"', b'"}')),
    "a long text of emoji": (_RESPONSES_PATH, lambda: _around(_START, "😀".encode(), b'"}')),
    "a long text that is not UTF-8": (_RESPONSES_PATH, lambda: _around(_START, b"\xff", b'"}')),
    "a long text without an end": (_RESPONSES_PATH, lambda: _around(_START, b"a, b [", b"")),
    "a long chat": (_CHAT_PATH, lambda: _around(_CHAT[:-3].replace(b'hi"', b"hi "), b"word, ", b'"}]}')),
    "texts": (_RESPONSES_PATH, lambda: _around(_START[:-1] + b"[", b'"' + b"\\u0041" * 40 + b'",', b'""]}')),
    "spaces": (_CHAT_PATH, lambda: _around(_CHAT[:-1] + b"}", b" ", b"")),
    "spaces before": (_CHAT_PATH, lambda: _around(b"", b"\r\n\t ", _CHAT[:-1] + b"}")),
    "commas in a text": (_RESPONSES_PATH, lambda: _around(_START, b",[{", b'"}')),
    "empty lists": (_RESPONSES_PATH, lambda: _around(_START[:-1] + b"[", b"[],", b"[]]}", 4 * MIB)),
    "objects": (_RESPONSES_PATH, lambda: _around(_START[:-1] + b"[", b'{"a":1},', b"{}]}", 4 * MIB)),
    "numbers": (_RESPONSES_PATH, lambda: _around(_START[:-1] + b"[", b"1.5e7,", b"1]}", 8 * MIB)),
    "a number": (_CHAT_PATH, lambda: _around(_CHAT + b'"seed":', b"9", b"}")),
    "a long fraction": (_CHAT_PATH, lambda: _around(_CHAT + b'"top_p":0.', b"9", b"}")),
    "an exponent": (_CHAT_PATH, lambda: _around(_CHAT + b'"top_p":1e', b"9", b"}")),
    "brackets": (_CHAT_PATH, lambda: _around(_CHAT + b'"x":', b"[", b"")),
    "a nest": (_CHAT_PATH, lambda: _CHAT + b'"x":' + b"[" * 120 + b"]" * 120 + b"}"),
    "content parts": (
        _CHAT_PATH,
        lambda: _chat([{"role": "user", "content": [{"type": "text", "text": "a"}] * 300_000}]),
    ),
    "some content parts": (
        _CHAT_PATH,
        lambda: _chat([{"role": "user", "content": [{"type": "text", "text": "a"}] * 30_000}]),
    ),
    "messages": (_CHAT_PATH, lambda: _chat(USER * 300_000)),
    "some messages": (_CHAT_PATH, lambda: _chat(USER * 5_000)),
    "items": (_RESPONSES_PATH, lambda: _response([{"role": "user", "content": "a"}] * 300_000)),
    "some items": (_RESPONSES_PATH, lambda: _response([{"role": "user", "content": "a"}] * 5_000)),
    "some items that are kept": (
        _RESPONSES_PATH,
        lambda: _response([{"role": "user", "content": "a"}] * 5_000, store=True),
    ),
    "parts of items": (
        _RESPONSES_PATH,
        lambda: _response([{"role": "user", "content": [{"type": "input_text", "text": "a"}] * 300_000}]),
    ),
    "unknown members": (_CHAT_PATH, lambda: _chat(USER, **{f"k{number}": 1 for number in range(300_000)})),
    "some unknown members": (_CHAT_PATH, lambda: _chat(USER, **{f"k{number}": 1 for number in range(90_000)})),
    "unknown members within": (_CHAT_PATH, lambda: _chat([{**USER[0], **{f"k{n}": None for n in range(300_000)}}])),
    "biases": (_CHAT_PATH, lambda: _chat(USER, logit_bias={str(number): 1 for number in range(90_000)})),
    "stops": (_CHAT_PATH, lambda: _chat(USER, stop=["a"] * 90_000)),
    "a schema of branches": (_CHAT_PATH, lambda: _chat(USER, tools=_tool(_branching(14)))),
    "a schema of members": (
        _CHAT_PATH,
        lambda: _chat(
            USER, tools=_tool({"type": "object", "properties": {f"k{n}": {"type": "string"} for n in range(30_000)}})
        ),
    ),
    "a deep schema": (_CHAT_PATH, lambda: _chat(USER, tools=_tool(_nested(50)))),
    "a schema of words": (_CHAT_PATH, lambda: _chat(USER, tools=_tool({"enum": [f"w{n}" for n in range(90_000)]}))),
    "a long schema": (_CHAT_PATH, lambda: _chat(USER, tools=_tool({"type": "object", "description": "a" * 20 * MIB}))),
    "tools": (
        _CHAT_PATH,
        lambda: _chat(USER, tools=_tool({"type": "object", "properties": {"a": {"type": "string"}}}) * 12_000),
    ),
    "a format of branches": (
        _RESPONSES_PATH,
        lambda: _response("hi", text={"format": {"type": "json_schema", "name": "f", "schema": _branching(14)}}),
    ),
    "a long name of a model": (_CHAT_PATH, lambda: json.dumps({"model": "m" * 20 * MIB, "messages": USER}).encode()),
    "metadata": (_RESPONSES_PATH, lambda: _response("hi", metadata={f"k{n}": "v" for n in range(90_000)})),
    "a key of an object": (_CHAT_PATH, lambda: _around(_CHAT + b'"', b"k", b'":1}')),
    "an image": (
        _CHAT_PATH,
        lambda: _chat(
            [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 40 * MIB}}],
                }
            ]
        ),
    ),
    "arguments": (
        _CHAT_PATH,
        lambda: _chat(
            [
                *USER,
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "[" * 5 * MIB}}
                    ],
                },
                {"role": "tool", "tool_call_id": "a", "content": "x" * 5 * MIB},
            ]
        ),
    ),
}


def measured(server: MeteredStream, names: list[str], *, until: float = 0.0) -> Iterator[tuple[str, int, float, float]]:
    """For each body: its name, the answer's status, how long it took, and how long others waited at the worst.

    Ends after one that made others wait no longer than `until`.
    """
    for name in names:
        path, make = BODIES[name]
        body = make()
        server.stall()
        began = time.monotonic()
        answer = ask(server, path, body)
        took = time.monotonic() - began
        # What is done once the answer is out belongs to it.
        with Wire(server.url) as wire:
            wire.ask("GET", "/healthz")
        stall = server.stall()
        yield name, answer.status, took, stall
        if stall <= until:
            return
