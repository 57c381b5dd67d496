"""A connection of the WebSocket mode, without I/O: client events and fates of responses in, orders out.

Sources: the published documentation of the WebSocket mode (lanes, limits, steering, error envelope), and Open
Responses 2026-04-24, "WebSocket Transport". Where they differ: docs/decisions/0008-websocket.md.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError, InvalidRequest
from antiphon.protocol.responses import steering
from antiphon.protocol.responses.lanes import Lanes, Turn, checked_name
from antiphon.protocol.responses.steering import Steer, SteerRefused

Json = dict[str, Any]
#: Members of an event that are not the request's.
_ENVELOPE = ("type", "stream_id", "generate")


@dataclass(frozen=True, slots=True)
class Say:
    """Send this to the client."""

    body: Json


@dataclass(frozen=True, slots=True)
class Begin:
    """Make this turn's response; then tell `created` and `ended`, or `refused`."""

    turn: Turn


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Have this turn's response end at the next point where another can go on from it."""

    turn: Turn


@dataclass(frozen=True, slots=True)
class Forget:
    """Forget what is remembered of this response."""

    response_id: str


Order = Say | Begin | Interrupt | Forget


@dataclass(slots=True)
class _Known:
    """A response of this connection. `turn` is set while it is being made; `steers` wait for what comes after it."""

    lane: str | None
    turn: Turn | None
    status: str = "in_progress"
    required: list[Json] = field(default_factory=list)
    steers: list[Steer] = field(default_factory=list)
    continued: bool = False


def error_event(error: AntiphonError, lane: str | None = None) -> Json:
    """The published error envelope."""
    detail: Json = dict(error.body()["error"])
    detail["code"] = detail["code"] or detail["type"]
    if error.retry_after is not None:
        detail["headers"] = {"retry-after": str(error.retry_after)}
    return _on(lane, {"type": "error", "status": error.status, "error": detail})


def _on(lane: str | None, body: Json) -> Json:
    return body if lane is None else {**body, "stream_id": lane}


class Connection:
    """One connection's rules. Every method returns what is to be done now, in order."""

    def __init__(self) -> None:
        self._lanes = Lanes()
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._steering_bytes = 0
        self._sequence = 0
        self._closing: AntiphonError | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is being made, nor waits to be."""
        return not self._lanes.active and not self._lanes.waiting

    # --- what the client says -----------------------------------------------------------------------------------------
    def event(self, event: object, size: int) -> list[Order]:
        """A decoded message of so many bytes."""
        try:
            if not isinstance(event, dict):
                raise InvalidRequest("A message must be a JSON object.", code="invalid_type")
            match event.get("type"):
                case "response.create":
                    return self._create(event, size)
                case "response.steer":
                    return self._steer(event, size)
                case None:
                    raise InvalidRequest(
                        "Missing required parameter: 'type'.", code="missing_required_parameter", param="type"
                    )
                case _:
                    raise InvalidRequest(
                        "Invalid value for 'type': expected 'response.create' or 'response.steer'.",
                        code="invalid_value",
                        param="type",
                    )
        except AntiphonError as error:
            return [Say(error_event(error))]

    def _create(self, event: Json, size: int) -> list[Order]:
        lane = checked_name(event.get("stream_id"))
        body = {name: value for name, value in event.items() if name not in _ENVELOPE}
        # Here every response is streamed, and clients that share code with the HTTP mode say so.
        if body.get("stream") is None or isinstance(body["stream"], bool):
            body.pop("stream", None)
        try:
            if self._closing is not None:
                raise self._closing
            self._lanes.add(Turn(lane, body, size, generate=event.get("generate")))
        except AntiphonError as error:
            return [Say(error_event(error, lane))]
        return self._dispatch()

    def _steer(self, event: Json, size: int) -> list[Order]:
        response_id = steering.target(event)
        known = self._known.get(response_id)
        try:
            steer = steering.read(event, size)
            known = self._steerable(known, response_id, size)
        except SteerRefused as refusal:
            given = {"previous_response_id": response_id, "input": event["input"]}
            return [self._failed(refusal.code, refusal.message, given, known.lane if known else None)]
        known.steers.append(steer)
        self._steering_bytes += size
        accepted = Say(self._steering("accepted", known.lane, steer=steer.name()))
        if known.turn is None:
            return [accepted, self._pending(known, steer)]
        return [accepted, Interrupt(known.turn)]

    def _steerable(self, known: _Known | None, response_id: str, size: int) -> _Known:
        if known is None:
            raise SteerRefused("response_not_found", f"Response '{response_id}' is not one of this connection.")
        over = known.continued or not known.required or self._closing is not None
        if known.turn is None and over:
            if known.status == "completed":
                raise SteerRefused("response_already_completed", f"Response '{response_id}' has been completed.")
            raise SteerRefused("response_not_active", f"Response '{response_id}' has ended as {known.status}.")
        if known.turn is not None:
            body = known.turn.body
            if body.get("conversation") or body.get("context_management") or known.turn.generate is False:
                raise SteerRefused(
                    "steering_not_supported",
                    "Responses of a conversation, with automatic compaction, or without generation cannot be steered.",
                )
        too_large = self._steering_bytes and self._steering_bytes + size > limits.SOCKET_QUEUE_BYTES
        if len(known.steers) >= limits.MAX_STEERS or too_large:
            raise SteerRefused("too_many_pending_steers", "Too much steering input waits on this response.")
        return known

    # --- what becomes of responses ------------------------------------------------------------------------------------
    def created(self, turn: Turn, response_id: str) -> list[Order]:
        """The turn's response exists, and what steered its parent is part of it."""
        turn.response_id = response_id
        turn.steers = []
        self._known[response_id] = _Known(turn.lane, turn)
        parent = self._known.get(turn.parent or "")
        if parent is not None and parent.lane == turn.lane:
            parent.continued = True
        return self._bound()

    def refused(self, turn: Turn, error: AntiphonError) -> list[Order]:
        """No response could be made, or it broke off without an end."""
        orders: list[Order] = []
        known = self._known.get(turn.response_id or "")
        if known is not None:
            known.turn, known.status = None, "failed"
            orders += self._give_back(self._take(known), "response_not_active", "The response has failed.", turn.lane)
        elif not turn.automatic and turn.parent is not None:
            orders += self._evicted(turn.parent, turn.lane)
        if known is not None or not turn.automatic:
            orders.insert(0, Say(error_event(error, turn.lane)))
        orders += self._give_back(turn.steers, "successor_creation_failed", error.message, turn.lane)
        self._lanes.end(turn.lane)
        return [*orders, *self._dispatch()]

    def _evicted(self, parent: str, lane: str | None) -> list[Order]:
        """A continuation on the parent's own lane evicts it by failing; a fork on another lane does not."""
        known = self._known.get(parent)
        return [Forget(parent)] if known is not None and known.lane == lane else []

    def ended(self, turn: Turn, response: Json) -> list[Order]:
        """The turn's response has reached its end, and the client has been told."""
        known = self._known[response["id"]]
        known.turn, known.status = None, response["status"]
        orders: list[Order] = []
        if response["status"] == "completed":
            known.required = steering.required_input(response)
        if known.steers and known.required and self._closing is None:
            orders += [self._pending(known, steer) for steer in known.steers]
        elif known.steers:
            orders += self._succeed(turn, known, response)
            if orders and isinstance(orders[-1], Begin):
                return orders
        self._lanes.end(turn.lane)
        return [*orders, *self._dispatch()]

    def _succeed(self, turn: Turn, known: _Known, response: Json) -> list[Order]:
        """Go on from a response that was steered: at once, on its lane and in its place, with its settings."""
        steers = self._take(known)
        if response["status"] not in {"completed", "incomplete"}:
            message = f"The response has ended as {response['status']}."
            return self._give_back(steers, "response_not_active", message, turn.lane)
        if self._closing is not None:
            return self._give_back(steers, "successor_creation_failed", self._closing.message, turn.lane)
        settings = {name: value for name, value in turn.body.items() if name != "input"}
        body = steering.put_before(steers, {**settings, "previous_response_id": response["id"]})
        successor = Turn(turn.lane, body, 0)
        successor.steers, successor.automatic = steers, True
        return [Begin(successor)]

    def close(self, error: AntiphonError) -> list[Order]:
        """Take no more: what waits is refused, what is being made may end."""
        self._closing = error
        orders: list[Order] = [Say(error_event(error, turn.lane)) for turn in self._lanes.clear()]
        for known in self._known.values():
            if known.turn is None:
                orders += self._give_back(self._take(known), "response_not_active", error.message, known.lane)
        return orders

    # --- in between ---------------------------------------------------------------------------------------------------
    def _dispatch(self) -> list[Order]:
        orders: list[Order] = []
        while (turn := self._lanes.next()) is not None:
            known = self._known.get(turn.parent or "")
            if known is not None and known.turn is None and known.lane == turn.lane and known.steers:
                turn.steers = self._take(known)
                turn.body = steering.put_before(turn.steers, turn.body)
            orders.append(Begin(turn))
        return orders

    def _take(self, known: _Known) -> list[Steer]:
        steers, known.steers = known.steers, []
        self._steering_bytes -= sum(steer.size for steer in steers)
        return steers

    def _bound(self) -> list[Order]:
        """Forget the oldest responses that have ended."""
        orders: list[Order] = []
        while len(self._known) > limits.SOCKET_KNOWN + limits.SOCKET_ACTIVE:
            oldest = next(name for name, known in self._known.items() if known.turn is None)
            known = self._known.pop(oldest)
            orders += self._give_back(self._take(known), "response_not_active", "It was too long ago.", known.lane)
        return orders

    # --- events of steering -------------------------------------------------------------------------------------------
    def _steering(self, kind: str, lane: str | None, **fields: Any) -> Json:
        body = {"type": f"response.steer.{kind}", **fields, "sequence_number": self._sequence}
        self._sequence += 1
        return _on(lane, body)

    def _pending(self, known: _Known, steer: Steer) -> Say:
        return Say(
            self._steering(
                "pending",
                known.lane,
                reason="waiting_for_required_input",
                required_input=known.required,
                steer=steer.name(),
            )
        )

    def _failed(self, code: str, message: str, given: Json, lane: str | None) -> Say:
        error = {"type": "invalid_request_error", "code": code, "message": message[: limits.MAX_ERROR_MESSAGE]}
        return Say(self._steering("failed", lane, error=error, steer=given))

    def _give_back(self, steers: Iterable[Steer], code: str, message: str, lane: str | None) -> list[Order]:
        return [self._failed(code, message, {**steer.name(), "input": steer.input}, lane) for steer in steers]
