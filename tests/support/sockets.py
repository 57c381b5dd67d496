"""A WebSocket client that checks whatever it is told against the published specifications."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from websockets.sync.client import ClientConnection, connect

from antiphon.engines.scripted import Step
from antiphon.protocol.generation import Finish, Generation, Message, TextDelta, Usage
from conformance.sequence import check_sequence
from conformance.spec import check_response_event, check_type
from support.serving import Serving

Body = dict[str, Any]
ENDS = ("response.completed", "response.failed", "response.incomplete", "error")


class Client:
    """One connection. Every event is checked as it comes, and every response's events when it has ended."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.seen: list[Body] = []
        self._streams: dict[str | None, list[Body]] = defaultdict(list)
        self._steering = 0

    def send(self, event: object) -> None:
        """Send any JSON."""
        self.connection.send(json.dumps(event))

    def create(self, lane: str | None = None, **fields: Any) -> None:
        """Ask for a response."""
        event = {"type": "response.create", "model": "scripted", "input": "hi there", **fields}
        self.send(event if lane is None else {**event, "stream_id": lane})

    def steer(self, response_id: str, given: Any) -> None:
        """Steer one."""
        self.send({"type": "response.steer", "previous_response_id": response_id, "input": given})

    def recv(self) -> Body:
        """The next event."""
        event: Body = json.loads(self.connection.recv(timeout=10))
        check_event(event)
        self.seen.append(event)
        if event["type"].startswith("response.steer."):
            assert event["sequence_number"] == self._steering, "steering events are not numbered densely"
            self._steering += 1
        elif event["type"] != "error":
            lane = event.get("stream_id")
            self._streams[lane].append({name: value for name, value in event.items() if name != "stream_id"})
            if event["type"] in ENDS:
                check_sequence(self._streams.pop(lane))
        return event

    def until(self, *kinds: str, lane: str | None = None) -> Body:
        """Read on to an event of one of these types on a lane."""
        while True:
            event = self.recv()
            if event["type"] in kinds and event.get("stream_id") == lane:
                return event
            assert event["type"] != "error" or event.get("stream_id") != lane, event

    def response(self, lane: str | None = None) -> Body:
        """Read on to the end of a response on a lane."""
        body: Body = self.until(*ENDS[:3], lane=lane)["response"]
        return body

    def error(self, lane: str | None = None) -> tuple[int, str, str | None]:
        """Read on to an error on a lane: its status, code and param."""
        event = self.until("error", lane=lane)
        return event["status"], event["error"]["code"], event["error"]["param"]

    def ask(self, **fields: Any) -> Body:
        """A response on the default lane."""
        self.create(**fields)
        return self.response(fields.get("lane"))

    def refusal(self, **fields: Any) -> tuple[int, str, str | None]:
        """A request that must be refused."""
        self.create(**fields)
        return self.error(fields.get("lane"))


def check_event(event: Body) -> None:
    """One event as the official package and both specifications know it."""
    from openai.types.responses import ResponsesServerEvent

    check_type(ResponsesServerEvent, event)
    if event["type"] == "error":
        # Open Responses, WebSocketErrorEvent, and the published envelope.
        assert set(event) <= {"type", "status", "error", "stream_id"}
        assert 400 <= event["status"] < 600
        assert (
            {"type", "code", "message", "param"}
            <= set(event["error"])
            <= {
                "type",
                "code",
                "message",
                "param",
                "headers",
            }
        )
        assert event["error"]["code"]
        assert event["error"]["message"]
    elif not event["type"].startswith("response.steer."):
        check_response_event({name: value for name, value in event.items() if name != "stream_id"})


@contextlib.contextmanager
def opened(
    served: Serving, *, key: str | None = None, headers: dict[str, str] | None = None, **options: Any
) -> Iterator[Client]:
    """A connection to a server."""
    sent = {"Authorization": f"Bearer {key or served.key}", **(headers or {})}
    url = served.url.replace("http://", "ws://") + "/v1/responses"
    with connect(url, additional_headers=sent, max_size=None, **options) as connection:
        yield Client(connection)


def asked(generation: Generation) -> str:
    """The last user message that an engine was shown."""
    said = [turn.text for turn in generation.turns if isinstance(turn, Message) and turn.role == "user"]
    return said[-1] if said else ""


class Pipeline:
    """A script that says its first word, waits to be let through, and says the others. Safe from other threads."""

    def __init__(self, *words: str) -> None:
        self._words = words or ("one ", "two")
        self._gates: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._open = False

    def __call__(self, _: Generation) -> Sequence[Step]:
        if self._open:
            gate: list[Step] = []
        else:
            event = asyncio.Event()
            self._gates.append((asyncio.get_running_loop(), event))
            gate = [event]
        first, *others = [TextDelta(word) for word in self._words]
        return [first, *gate, *others, Finish("stop", Usage(input_tokens=1, output_tokens=len(self._words)))]

    def open(self) -> None:
        """Let through who waits and who comes."""
        self._open = True
        for loop, event in self._gates:
            loop.call_soon_threadsafe(event.set)
