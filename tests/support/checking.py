"""HTTP transports for the official SDK that hold every answer, as it came over the socket, against the specifications.

What is wrong is collected and told at the end of the test (`Answers.check`): raised inside the SDK it would be retried.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx2
from openai import AsyncOpenAI, OpenAI

from antiphon.wire.sse import SSEParser
from conformance import spec
from conformance.sequence import check_sequence, check_usage
from support.real import Server
from support.serving import Serving

Body = dict[str, Any]
Check = Callable[[Any], None]


class Answers:
    """What came back in one test, and what was wrong with it."""

    def __init__(self) -> None:
        self.count = 0
        self.problems: list[str] = []

    def take(self, method: str, path: str, response: httpx2.Response, body: bytes) -> None:
        """Check one answer. `body` may be cut off where the client hung up in the middle of a stream."""
        self.count += 1
        try:
            check_answer(method, path, response.status_code, dict(response.headers), body)
        except Exception as error:
            # A body that the checks stumble over is as wrong as one that they refuse.
            self.problems.append(f"{method} {path} ({response.status_code}): {error!r}\n{body[:2000]!r}")

    def check(self) -> None:
        """Raise what was wrong."""
        assert self.count, "nothing was asked"
        assert not self.problems, "\n".join(self.problems)

    def sync(self) -> httpx2.BaseTransport:
        """A transport for clients of the test's own, whose every answer is checked."""
        return _Transport(self)

    @contextlib.contextmanager
    def client(self, server: Server | Serving) -> Iterator[OpenAI]:
        """The official client, whose every answer is checked."""
        with httpx2.Client(transport=_Transport(self), timeout=60) as http:
            yield OpenAI(base_url=server.base_url, api_key=server.key, http_client=http, max_retries=0)

    @contextlib.asynccontextmanager
    async def async_client(self, server: Server) -> AsyncIterator[AsyncOpenAI]:
        """The official asynchronous client, whose every answer is checked."""
        async with httpx2.AsyncClient(transport=_AsyncTransport(self), timeout=60) as http:
            yield AsyncOpenAI(base_url=server.base_url, api_key=server.key, http_client=http, max_retries=0)


# --- checks -----------------------------------------------------------------------------------------------------------
def check_answer(method: str, path: str, status: int, headers: dict[str, str], body: bytes) -> None:
    """Check one whole HTTP answer: its headers, and its body by the kind of thing that lives at `path`."""
    assert re.fullmatch(r"req_[0-9a-f]{32}", headers["x-request-id"])
    assert headers["openai-processing-ms"].isdigit()
    assert headers["openai-version"] == "2020-10-01"
    if headers["content-type"].startswith("text/event-stream"):
        assert status == 200
        check_stream(path, body)
        return
    assert headers["content-type"] == "application/json"
    assert int(headers["content-length"]) == len(body)
    if status != 200:
        spec.check_error(json.loads(body))
        return
    _check_of(method, path)(json.loads(body))


def _check_of(method: str, path: str) -> Check:
    kinds: list[tuple[str, str, Check]] = [
        ("POST", r"/v1/responses", _response),
        ("POST", r"/v1/responses/input_tokens", spec.check_token_count),
        ("POST", r"/v1/responses/compact", spec.check_compacted),
        ("GET", r"/v1/responses/[^/]+", _response),
        ("POST", r"/v1/responses/[^/]+/cancel", _response),
        ("DELETE", r"/v1/responses/[^/]+", _deleted("response")),
        ("GET", r"/v1/responses/[^/]+/input_items", _items),
        ("POST", r"/v1/conversations", spec.check_conversation),
        ("GET|POST", r"/v1/conversations/[^/]+", spec.check_conversation),
        ("DELETE", r"/v1/conversations/[^/]+", _deleted("conversation.deleted")),
        ("GET|POST", r"/v1/conversations/[^/]+/items", _conversation_items),
        ("GET", r"/v1/conversations/[^/]+/items/[^/]+", spec.check_conversation_item),
        ("DELETE", r"/v1/conversations/[^/]+/items/[^/]+", spec.check_conversation),
        ("POST", r"/v1/chat/completions", spec.check_chat_completion),
        ("GET", r"/v1/chat/completions", lambda body: spec.check_list(body, "CreateChatCompletionResponse")),
        ("GET|POST", r"/v1/chat/completions/[^/]+", spec.check_chat_completion),
        ("DELETE", r"/v1/chat/completions/[^/]+", _deleted("chat.completion.deleted")),
        ("GET", r"/v1/chat/completions/[^/]+/messages", _messages),
        ("GET", r"/v1/models", lambda body: spec.check_list(body, "Model")),
        ("GET", r"/v1/models/.+", spec.check_model),
    ]
    for methods, pattern, check in kinds:
        if re.fullmatch(methods, method) and re.fullmatch(pattern, path):
            return check
    raise AssertionError("no check for this path")


def _response(body: Body) -> None:
    spec.check_response(body)
    if body["usage"] is not None:
        check_usage(body["usage"])


def _items(body: Body) -> None:
    spec.check_list(body, "ItemResource")
    for item in body["data"]:
        spec.check_item(item)


def _conversation_items(body: Body) -> None:
    spec.check_list(body, "ConversationItem")
    for item in body["data"]:
        spec.check_conversation_item(item)


def _messages(body: Body) -> None:
    # The published schema knows the assistant's role only; its own example lists a user's message, as it must.
    roles = [message["role"] for message in body["data"]]
    assert set(roles) <= {"system", "developer", "user", "assistant", "tool", "function"}
    shown = [message | {"role": "assistant"} for message in body["data"]]
    spec.check("openai", "ChatCompletionMessageList", body | {"data": shown})


def _deleted(kind: str) -> Check:
    def check(body: Body) -> None:
        assert body == {"id": body.get("id"), "object": kind, "deleted": True}
        assert isinstance(body["id"], str)

    return check


# --- streams ----------------------------------------------------------------------------------------------------------
def check_stream(path: str, body: bytes) -> None:
    """Check a stream of events: each one alone, then their order; the order's end only if the stream has one."""
    events = SSEParser().feed(body)
    ended = bool(events) and events[-1][1] == b"[DONE]"
    bodies = [json.loads(data) for _, data in events if data != b"[DONE]"]
    assert len(bodies) == len(events) - ended, "[DONE] is not last"
    if path.startswith("/v1/responses"):
        assert [name for name, _ in events][: len(bodies)] == [event["type"] for event in bodies]
        for event in bodies:
            spec.check_response_event(event)
        # One that is gone on with begins somewhere.
        begins = path == "/v1/responses" or (bodies and bodies[0]["sequence_number"] == 0)
        if ended and begins:
            check_sequence(bodies)
    else:
        check_chunks(bodies, ended=ended)


def check_chunks(chunks: list[Body], *, ended: bool) -> None:
    """Check the chunks of one chat completion: one id, a role first, one finish a choice, then at most the usage."""
    if chunks and "error" in chunks[-1]:
        spec.check_error(chunks.pop())
        ended = False
    finished: set[int] = set()
    begun: set[int] = set()
    for number, chunk in enumerate(chunks):
        spec.check_chat_chunk(_without_custom_calls(chunk))
        assert {chunk[name] == chunks[0][name] for name in ("id", "created", "model", "system_fingerprint")} == {True}
        for choice in chunk["choices"]:
            index = choice["index"]
            assert index not in finished, f"chunk {number}: choice {index} had finished"
            assert (index not in begun) == (choice["delta"].get("role") == "assistant")
            begun.add(index)
            if choice["finish_reason"] is not None:
                finished.add(index)
        if chunk.get("usage") is not None:
            assert number == len(chunks) - 1, "the usage is not last"
            assert chunk["choices"] == []
    if ended:
        assert begun == finished, "a choice has no end"


def _without_custom_calls(chunk: Body) -> Body:
    """The published schema knows calls of custom tools in whole completions, but forgets them in chunks."""
    copy: Body = json.loads(json.dumps(chunk))
    for choice in copy.get("choices", []):
        calls = choice["delta"].get("tool_calls")
        if calls:
            choice["delta"]["tool_calls"] = [call for call in calls if "custom" not in call]
    return copy


# --- transports -------------------------------------------------------------------------------------------------------
class _Transport(httpx2.HTTPTransport):
    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self._answers = answers

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        response = super().handle_request(request)
        stream = response.stream
        assert isinstance(stream, httpx2.SyncByteStream)
        response.stream = _Tee(stream, _taker(self._answers, request, response))
        return response


class _AsyncTransport(httpx2.AsyncHTTPTransport):
    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self._answers = answers

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        stream = response.stream
        assert isinstance(stream, httpx2.AsyncByteStream)
        response.stream = _AsyncTee(stream, _taker(self._answers, request, response))
        return response


def _taker(answers: Answers, request: httpx2.Request, response: httpx2.Response) -> Callable[[bytes], None]:
    return lambda body: answers.take(request.method, request.url.path, response, body)


class _Tee(httpx2.SyncByteStream):
    def __init__(self, inner: httpx2.SyncByteStream, take: Callable[[bytes], None]) -> None:
        self._inner = inner
        self._take = take
        self._got: list[bytes] = []

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._inner:
            self._got.append(piece)
            yield piece

    def close(self) -> None:
        self._inner.close()
        self._take(b"".join(self._got))


class _AsyncTee(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream, take: Callable[[bytes], None]) -> None:
        self._inner = inner
        self._take = take
        self._got: list[bytes] = []

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._inner:
            self._got.append(piece)
            yield piece

    async def aclose(self) -> None:
        await self._inner.aclose()
        self._take(b"".join(self._got))
