"""A response as a state machine without I/O: facts in, events out.

`table.TRANSITIONS` is the whole protocol. Every fact is a row of it or it is a `MachineError`; the order of events
follows from the actions of the rows and from nothing else. The same machine serves sync answers, streams and replays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from antiphon.domain.errors import AntiphonError, RateLimited
from antiphon.domain.ids import new_id
from antiphon.protocol.events import Event, MachineError, Obfuscator
from antiphon.protocol.generation import (
    AnswerDelta,
    Batch,
    CallArguments,
    CallStart,
    Finish,
    PassthroughDelta,
)
from antiphon.protocol.responses import objects
from antiphon.protocol.responses.client_tools import Form
from antiphon.protocol.responses.ending import Steered, Warmed
from antiphon.protocol.responses.objects import Json
from antiphon.protocol.responses.output import Output
from antiphon.protocol.responses.relay import Relay
from antiphon.protocol.responses.table import INCOMPLETE, TRANSITIONS, Fact, ResponseDelta, State, fact_of
from antiphon.protocol.shared import TIERS


class ResponseMachine(Output):
    """One response from its creation to its one terminal event.

    `base` is the Response object as created (no output); it is not changed. `clock` gives Unix
    seconds. `seal`: makes `encrypted_content` of a reasoning text. `ids` makes item ids from a prefix. After each call,
    `unsaved` says whether something changed that must be on disk before the returned events are sent: the response's
    id, a finished item, or its end. `reserved_ids`: ids that no item of another server's answer may have. `forms`: how
    calls of the tools that were offered are shown.
    """

    def __init__(
        self,
        base: Json,
        *,
        clock: Callable[[], float],
        obfuscate: bool = True,
        show_logprobs: bool = False,
        seal: Callable[[str], str] | None = None,
        ids: Callable[[str], str] = new_id,
        reserved_ids: Collection[str] = (),
        forms: Mapping[str, Form] | None = None,
    ) -> None:
        super().__init__(ids, Obfuscator() if obfuscate else None, show_logprobs=show_logprobs, seal=seal)
        self.state = State.NEW
        self._base = base
        self._clock = clock
        self._status = "in_progress"
        self._final: Json | None = None
        self.error: AntiphonError | None = None
        self._finish = Finish("stop")
        self.reserved_ids = reserved_ids
        self._relay: Relay | None = None
        self.forms = forms or {}

    # --- facts in -----------------------------------------------------------------------------------------------------
    def queue(self) -> list[Event]:
        """The response exists and waits its turn: `response.created` and `response.queued`."""
        self._status = "queued"
        return self._take(Fact.QUEUE, None)

    def start(self) -> list[Event]:
        """It is being made: `response.in_progress`, after `response.created` if that was not said before."""
        self._status = "in_progress"
        return self._take(Fact.START, None)

    def feed(self, delta: ResponseDelta | Batch | Steered | Warmed) -> list[Event]:
        """One delta of the generation, or what ends it. Raises `MachineError` if it has no row in the table.

        Raises `UpstreamFailed` for what another server says and may not; what of it was right comes with the next fact.
        """
        if isinstance(delta, Steered):
            self._item_status = "incomplete"
            return self._take(Fact.STEER, None)
        if isinstance(delta, Warmed):
            self._finish = Finish("stop", delta.usage)
            return self._take(Fact.WARM, None)
        if isinstance(delta, Batch):
            return self._feed_all(delta)
        if self.state is State.RELAYED and isinstance(delta, Finish):
            # While it may still be refused: an end cannot be taken back.
            self._relayed().conclude()
        cut = isinstance(delta, Finish) and delta.reason in INCOMPLETE
        if self.state is State.CALL and not isinstance(delta, CallArguments) and not cut:
            # While it may still be refused, as above.
            self._check_whole_call()
        return self._take(fact_of(delta), delta)

    def _feed_all(self, batch: Batch) -> list[Event]:
        events: list[Event] = []
        try:
            for delta in batch.deltas:
                events += self.feed(delta)
        except (MachineError, AntiphonError):
            # What came before stays said: it is told with what ends the response.
            self._events = events + self._events
            raise
        return events

    def fault(self, error: AntiphonError) -> list[Event]:
        """The generation broke: what is open is closed as incomplete, and the response has failed."""
        self.error = error
        self._item_status = "incomplete"
        return self._take(Fact.FAULT, None)

    def cancel(self) -> list[Event]:
        """The client no longer wants it.

        Neither specification has an event for this. `response.incomplete` comes nearest: what was made is kept, and
        the response in it says "cancelled".
        """
        self._item_status = "incomplete"
        return self._take(Fact.CANCEL, None)

    def _take(self, fact: Fact, delta: ResponseDelta | None) -> list[Event]:
        row = TRANSITIONS[self.state].get(fact)
        if row is None:
            raise MachineError(f"{fact.name} while {self.state.name}")
        if isinstance(delta, Finish):
            self._finish = delta
            if delta.reason in INCOMPLETE:
                self._item_status = "incomplete"
        self.state, actions = row
        for action in actions:
            _ACTIONS[action](self, delta)
        events, self._events = self._events, []
        return events

    @property
    def steerable(self) -> bool:
        """Whether the response may end here so that another goes on from it: nothing it has said may need an answer."""
        waits = any(item["type"].endswith("_call") for item in self.output)
        if self._relay is not None:
            waits = self._relay.calling
        return Fact.STEER in TRANSITIONS[self.state] and not waits

    # --- after a crash ------------------------------------------------------------------------------------------------
    @property
    def waiting(self) -> bool:
        """Whether it has not been said yet that the response is being made."""
        return self.state in {State.NEW, State.QUEUED}

    @property
    def begun(self) -> bool:
        """Whether anything of the answer has been said. What was compacted before it is no part of it."""
        between = self.state in {State.NEW, State.QUEUED, State.OPEN, State.BETWEEN}
        return not between or any(item["type"] != "compaction" for item in self.output)

    def restore(self, events: Iterable[Json]) -> None:
        """Be as after these events, which a machine for the same response emitted. For a new machine.

        The events must end where a fact's events end, as they do in a log that is written fact by fact.
        """
        self.replay(events)
        self.restored()

    def replay(self, events: Iterable[Json]) -> None:
        """`restore` a part at a time; after the last, say `restored`."""
        relay = self._relayed()
        for event in events:
            self._sequence = event["sequence_number"] + 1
            relay.restore(event["type"], event)
            match event["type"].removeprefix("response."):
                case "created" | "in_progress":
                    self._restore_status(event)
                case "output_item.added":
                    self._restore_item(event)
                case "output_item.done":
                    self.output.append(event["item"])
                    self.state = State.BETWEEN
                case "content_part.added":
                    self._restore_part(event)
                case "content_part.done":
                    self._parts.append(event["part"])
                case _ if "delta" in event:
                    self._pieces.append(event["delta"])
                    self._logprobs += event.get("logprobs", ())

    def restored(self) -> None:
        """These were all events."""
        if self._relayed().plain:
            self._relay = None
        else:
            self.state = State.RELAYED

    def _restore_item(self, event: Json) -> None:
        item = event["item"]
        self._item_id, self._parts, self._pieces = item["id"], [], []
        if item["type"] in {"function_call", "custom_tool_call"}:
            custom = item["type"] == "custom_tool_call"
            self._call = CallStart(item["name"], item["call_id"], "custom" if custom else "function")
            self._form = Form("function", item["name"], item.get("namespace"))
            self.state = State.CUSTOM if custom else State.CALL

    def _restore_part(self, event: Json) -> None:
        self._pieces, self._logprobs = [], []
        self.state = {"output_text": State.TEXT, "refusal": State.REFUSAL}.get(event["part"]["type"], State.REASONING)

    def _restore_status(self, event: Json) -> None:
        self._status = event["response"]["status"]
        self.state = State.QUEUED if self._status == "queued" else State.OPEN

    # --- what to keep -------------------------------------------------------------------------------------------------
    @property
    def ended(self) -> bool:
        """Whether the response has reached its terminal state."""
        return self.state is State.ENDED

    def snapshot(self) -> Json:
        """The Response object as it stands."""
        return self._final or {**self._base, "status": self._status, "output": list(self.output)}

    # --- response -----------------------------------------------------------------------------------------------------
    def _created(self, _: AnswerDelta | None) -> None:
        self._emit("response.created", response=self.snapshot())
        self.unsaved = True

    def _queued(self, _: AnswerDelta | None) -> None:
        self._emit("response.queued", response=self.snapshot())

    def _begin(self, _: AnswerDelta | None) -> None:
        self._emit("response.in_progress", response=self.snapshot())
        self.unsaved = True

    def _end(self, status: str, **fields: Any) -> Json:
        self._final = {**self._base, "status": status, "output": list(self.output), **fields}
        self.unsaved = True
        return self._final

    def _do_finish(self, _: AnswerDelta | None) -> None:
        theirs = self._relay.end(counted=self._finish.usage.estimated) if self._relay is not None else {}
        told = {"usage": objects.usage(self._finish.usage), **theirs}
        if self._finish.tier in TIERS:
            told["service_tier"] = self._finish.tier
        reason = INCOMPLETE.get(self._finish.reason)
        if reason is None:
            final = self._end("completed", **{**told, "incomplete_details": None, "completed_at": int(self._clock())})
        else:
            final = self._end("incomplete", **{"incomplete_details": {"reason": reason}, **told})
        self._emit(f"response.{final['status']}", response=final)

    def _fail(self, _: AnswerDelta | None) -> None:
        message = self.error.message if self.error else "The server had an error."
        # Of codes that are not published, the precise one stays in the log.
        code = self.error.code if self.error is not None else None
        if isinstance(self.error, RateLimited):
            code = "rate_limit_exceeded"
        code = code if code in objects.ERROR_CODES else "server_error"
        final = self._end("failed", error={"code": code, "message": message})
        self._emit("response.failed", response=final)

    def _cancel(self, _: AnswerDelta | None) -> None:
        final = self._end("cancelled")
        self._emit("response.incomplete", response=final)

    def _steer(self, _: AnswerDelta | None) -> None:
        final = self._end("incomplete", incomplete_details={"reason": "steered"})
        self._emit("response.incomplete", response=final)

    # --- another server's answer --------------------------------------------------------------------------------------
    def _relayed(self) -> Relay:
        if self._relay is None:
            self._relay = Relay(
                self._emit,
                self.output,
                ids=self._ids,
                padding=self._padding,
                snapshot=self.snapshot,
                reserved_ids=self.reserved_ids,
            )
        return self._relay

    def _do_relay(self, delta: ResponseDelta | None) -> None:
        assert isinstance(delta, PassthroughDelta)
        done = len(self.output)
        try:
            self._relayed().take(delta.data)
        finally:
            self.unsaved = self.unsaved or len(self.output) > done

    def _cut(self, _: ResponseDelta | None) -> None:
        self._relayed().cut()


_ACTIONS: Final[dict[str, Callable[[ResponseMachine, ResponseDelta | None], None]]] = {
    action: getattr(ResponseMachine, f"_do_{action}" if action in {"finish", "relay"} else f"_{action}")
    for rows in TRANSITIONS.values()
    for _, actions in rows.values()
    for action in actions
}
