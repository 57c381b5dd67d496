"""The upstream behind every gateway: a Chat Completions server that costs as little as one in Python can.

A request with `"stream":true` is answered with fifty chunks, each a write of its own; any other with a fixed body.
Streams of the Responses API are there for a peer that cannot make them from chat completions.
`python -m bench.gateway.mock` prints its port.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from typing import Any, cast

CHUNKS = 50
MODEL = "mock"
_USAGE = {
    "prompt_tokens": 12,
    "completion_tokens": CHUNKS - 2,
    "total_tokens": CHUNKS + 10,
    "prompt_tokens_details": {"cached_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0},
}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_COMMON = {"id": "chatcmpl-mock", "created": 1_700_000_000, "model": MODEL, "system_fingerprint": "fp_mock"}


def _http(status: str, kind: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def _whole() -> bytes:
    message = {"role": "assistant", "content": "word " * (CHUNKS - 2), "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    body = {**_COMMON, "object": "chat.completion", "choices": [choice], "usage": _USAGE}
    return _http("200 OK", "application/json", json.dumps(body, separators=(",", ":")).encode())


def _sse(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


def _chunk(piece: bytes) -> bytes:
    return f"{len(piece):x}\r\n".encode() + piece + b"\r\n"


def _stream(*, usage: bool) -> list[bytes]:
    """What is written, write by write: the head with the first chunk, the others, the last with the end."""
    deltas: list[tuple[dict[str, str], str | None]] = [({"role": "assistant", "content": ""}, None)]
    deltas += [({"content": "word "}, None)] * (CHUNKS - 2)
    deltas += [({}, "stop")]
    common = {**_COMMON, "object": "chat.completion.chunk"} | ({"usage": None} if usage else {})
    writes = [
        _chunk(_sse({**common, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]}))
        for delta, reason in deltas
    ]
    writes[0] = HEAD + writes[0]
    if usage:
        writes[-1] += _chunk(_sse({**common, "choices": [], "usage": _USAGE}))
    writes[-1] += _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
    return writes


def _responses() -> list[bytes]:
    """A stream of the Responses API with as much text, in fifty events and the six around them."""
    text = "word " * (CHUNKS - 2)
    base: dict[str, Any] = {"id": "resp_mock", "object": "response", "created_at": 1_700_000_000, "model": MODEL}
    base |= {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "metadata": {}}
    going = {**base, "status": "in_progress", "output": []}
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    item: dict[str, Any] = {"id": "msg_mock", "type": "message", "role": "assistant", "status": "in_progress"}
    whole = {**item, "status": "completed", "content": [{**part, "text": text}]}
    usage = {
        "input_tokens": 12,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": CHUNKS - 2,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": CHUNKS + 10,
    }
    place = {"item_id": "msg_mock", "output_index": 0, "content_index": 0}
    events: list[tuple[str, dict[str, Any]]] = [
        ("created", {"response": going}),
        ("in_progress", {"response": going}),
        ("output_item.added", {"output_index": 0, "item": {**item, "content": []}}),
        ("content_part.added", {**place, "part": part}),
    ]
    events += [("output_text.delta", {**place, "delta": "word ", "logprobs": []})] * (CHUNKS - 2)
    events += [
        ("output_text.done", {**place, "text": text, "logprobs": []}),
        ("content_part.done", {**place, "part": {**part, "text": text}}),
        ("output_item.done", {"output_index": 0, "item": whole}),
        ("completed", {"response": {**base, "status": "completed", "output": [whole], "usage": usage}}),
    ]
    writes = [
        _chunk(f"event: response.{name}\n".encode() + _sse({"type": f"response.{name}", "sequence_number": n, **body}))
        for n, (name, body) in enumerate(events)
    ]
    writes[0] = HEAD + writes[0]
    writes[-1] += b"0\r\n\r\n"
    return writes


WHOLE = _whole()
STREAM = _stream(usage=False)
STREAM_WITH_USAGE = _stream(usage=True)
RESPONSES = _responses()
MODELS = _http(
    "200 OK",
    "application/json",
    json.dumps(
        {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 1, "owned_by": "bench"}]}
    ).encode(),
)
NOT_FOUND = _http("404 Not Found", "application/json", b'{"error":{"message":"no such thing"}}')


class Connection(asyncio.Protocol):
    """One connection: requests one after the other, told apart by their content lengths."""

    def __init__(self) -> None:
        self._had = b""
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer when a request is whole."""
        self._had += data
        end = self._had.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._had[:end].lower()
        body = end + 4
        if b"transfer-encoding: chunked" in head:
            if not self._had.endswith(b"0\r\n\r\n"):
                return
            whole = len(self._had)
        else:
            at = head.find(b"content-length:")
            whole = body + (int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0)
        if len(self._had) >= whole:
            asked, self._had = self._had[:whole], self._had[whole:]
            self._answer(asked, body)

    def _answer(self, asked: bytes, body: int) -> None:
        if asked.startswith(b"POST") and b"/chat/completions" in asked[:60]:
            if asked.find(b'"stream":true', body) < 0 and asked.find(b'"stream": true', body) < 0:
                self._transport.write(WHOLE)
            else:
                usage = asked.find(b"include_usage", body) >= 0
                self._say(iter(STREAM_WITH_USAGE if usage else STREAM))
        elif asked.startswith(b"POST") and b"/responses" in asked[:60]:
            self._say(iter(RESPONSES))
        elif b"/models" in asked[:60]:
            self._transport.write(MODELS)
        elif asked.startswith((b"GET /health", b"GET / ")):
            self._transport.write(_http("200 OK", "application/json", b"{}"))
        else:
            self._transport.write(NOT_FOUND)

    def _say(self, writes: Iterator[bytes]) -> None:
        # One write in each turn of the loop: written at once, they would be one packet.
        piece = next(writes, None)
        if piece is not None and not self._transport.is_closing():
            self._transport.write(piece)
            self._loop.call_soon(self._say, writes)


def main() -> None:
    """Serve until killed."""
    import uvloop

    async def serve() -> None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        server = await asyncio.get_running_loop().create_server(Connection, sock=listener)
        print(listener.getsockname()[1], flush=True)
        await server.serve_forever()

    uvloop.run(serve())


if __name__ == "__main__":
    main()
