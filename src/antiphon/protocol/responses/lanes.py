"""Who of a connection's requests may be made now: lanes in order, side by side, within the published limits."""

from __future__ import annotations

import re
from collections import deque
from typing import Any

from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError, InvalidRequest
from antiphon.protocol.responses.steering import Steer

Json = dict[str, Any]
_NAME = re.compile(rf"[A-Za-z0-9_.-]{{1,{limits.MAX_STREAM_ID}}}")


class QueueFull(AntiphonError):
    """A connection has sent more than may wait (429)."""

    status = 429
    type = "rate_limit_error"
    code = "websocket_queue_full"
    retry_after = 1


class Turn:
    """One request for a response, from its arrival to its end.

    `lane` is its lane's name, None for the default one. `steers` are the steering inputs that its input begins with.
    `automatic`: made here, to go on from a response that was steered. `response_id` is set once it has one.
    """

    __slots__ = ("automatic", "body", "generate", "lane", "response_id", "size", "steers")

    def __init__(self, lane: str | None, body: Json, size: int, *, generate: object = None) -> None:
        self.lane = lane
        self.body = body
        self.size = size
        self.generate = generate
        self.steers: list[Steer] = []
        self.automatic = False
        self.response_id: str | None = None

    @property
    def parent(self) -> str | None:
        """The response that it goes on from, as far as that is a name at all."""
        parent = self.body.get("previous_response_id")
        return parent if isinstance(parent, str) else None


class _Lane:
    __slots__ = ("busy", "waiting")

    def __init__(self) -> None:
        self.busy = False
        self.waiting: deque[Turn] = deque()


def checked_name(name: object) -> str | None:
    """A lane's name. Raises `InvalidRequest` (code "invalid_stream_id")."""
    if name is None or (isinstance(name, str) and _NAME.fullmatch(name)):
        return name
    raise InvalidRequest(
        f"Invalid 'stream_id': expected 1 to {limits.MAX_STREAM_ID} characters of A-Z, a-z, 0-9, '_', '-' and '.'.",
        code="invalid_stream_id",
        param="stream_id",
    )


class Lanes:
    """Each lane makes its turns one after the other, in order of arrival; at most `limits.SOCKET_ACTIVE` lanes at once.

    Lanes that wait for a place get it in turn, so that no lane can keep another from it.
    """

    def __init__(self) -> None:
        self._lanes: dict[str | None, _Lane] = {None: _Lane()}
        self._ready: deque[_Lane] = deque()
        self._bytes = 0
        self.active = 0
        self.waiting = 0

    def add(self, turn: Turn) -> None:
        """Line up. Raises `InvalidRequest` for one lane too many, and `QueueFull`."""
        if turn.lane not in self._lanes and len(self._lanes) > limits.SOCKET_LANES:
            raise InvalidRequest(
                f"This connection has used {limits.SOCKET_LANES} different stream ids, which is the limit; use one of "
                "them, or another connection.",
                code="websocket_stream_limit_reached",
                param="stream_id",
            )
        full = self._bytes + turn.size > limits.SOCKET_QUEUE_BYTES and self.waiting
        if self.waiting >= limits.SOCKET_QUEUE or full:
            raise QueueFull("Too many requests wait on this connection; send more when some of them have ended.")
        lane = self._lanes.setdefault(turn.lane, _Lane())
        lane.waiting.append(turn)
        self.waiting += 1
        self._bytes += turn.size
        if not lane.busy and len(lane.waiting) == 1:
            self._ready.append(lane)

    def next(self) -> Turn | None:
        """The turn to begin now, if there is one and a place for it."""
        if not self._ready or self.active >= limits.SOCKET_ACTIVE:
            return None
        lane = self._ready.popleft()
        turn = lane.waiting.popleft()
        self.waiting -= 1
        self._bytes -= turn.size
        lane.busy = True
        self.active += 1
        return turn

    def end(self, name: str | None) -> None:
        """The lane's turn has ended."""
        lane = self._lanes[name]
        lane.busy = False
        self.active -= 1
        if lane.waiting:
            self._ready.append(lane)

    def clear(self) -> list[Turn]:
        """Send everybody away who waits."""
        turns = [turn for lane in self._lanes.values() for turn in lane.waiting]
        for lane in self._lanes.values():
            lane.waiting.clear()
        self._ready.clear()
        self.waiting = self._bytes = 0
        return turns
