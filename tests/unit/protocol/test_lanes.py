"""Whatever a client sends, each lane is made in order, and never too much at once."""

from __future__ import annotations

from collections import deque
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.domain import limits
from antiphon.domain.errors import EngineFailed, InvalidRequest, ShuttingDown
from antiphon.protocol.responses.lanes import Turn
from antiphon.protocol.responses.socket import Begin, Connection, Order, Say
from support.examples import examples

CALL = {"type": "function_call", "status": "completed", "call_id": "call_1", "name": "add", "arguments": "{}"}
lanes = st.one_of(st.none(), st.integers(0, limits.SOCKET_LANES + 4).map(lambda n: f"lane-{n}"))
ends = st.sampled_from(["completed", "completed", "incomplete", "failed", "cancelled", "call", "refused", "broken"])
steps = st.one_of(
    st.tuples(st.just("create"), lanes, st.booleans()),
    st.tuples(st.just("create"), lanes, st.booleans()),
    st.tuples(st.just("end"), st.integers(0, 99), ends),
    st.tuples(st.just("steer"), st.integers(0, 99), st.booleans()),
    st.tuples(st.just("close")),
)


class World:
    """A client, and the side that makes responses, around one connection. Checks the rules after every step."""

    def __init__(self) -> None:
        self.rules = Connection()
        self.sent = 0
        self.waiting: dict[str | None, deque[int]] = {}
        self.active: dict[str | None, Turn] = {}
        self.names: set[str] = set()
        self.ids: list[str] = []
        self.answered = 0
        self.owned: set[str] = set()  # steering submissions that the server holds
        self.closed = False

    def do(self, orders: list[Order]) -> None:
        for order in orders:
            if isinstance(order, Begin):
                self.begin(order.turn)
            elif isinstance(order, Say):
                self.said(order.body)
        assert len(self.active) <= limits.SOCKET_ACTIVE
        assert len(self.names) <= limits.SOCKET_LANES
        assert self.rules.idle == (not self.active and not any(self.waiting.values()))
        if len(self.active) < limits.SOCKET_ACTIVE:
            stuck = [lane for lane, waiting in self.waiting.items() if waiting and lane not in self.active]
            assert not stuck, f"nothing keeps {stuck} from going on"

    def begin(self, turn: Turn) -> None:
        assert turn.lane not in self.active, "two at once on one lane"
        assert not (turn.automatic and self.closed)
        if not turn.automatic:
            assert self.waiting[turn.lane].popleft() == turn.body["number"], "not in order"
        assert all(steer.id in self.owned for steer in turn.steers)
        self.active[turn.lane] = turn

    def said(self, body: dict[str, Any]) -> None:
        match body["type"]:
            case "response.steer.accepted":
                self.owned.add(body["steer"]["id"])
            case "response.steer.failed":
                self.owned.discard(body["steer"].get("id"))
            case "response.steer.pending":
                assert body["steer"]["id"] in self.owned

    def create(self, lane: str | None, *, goes_on: bool) -> None:
        self.sent += 1
        body: dict[str, Any] = {"type": "response.create", "input": "hi", "number": self.sent}
        if lane is not None:
            body["stream_id"] = lane
        if goes_on and self.ids:
            body["previous_response_id"] = self.ids[-1]
        self.waiting.setdefault(lane, deque()).append(self.sent)
        orders = self.rules.event(body, 100)
        refused = [order for order in orders if isinstance(order, Say) and order.body["type"] == "error"]
        if refused:
            self.waiting[lane].pop()
            codes = {order.body["error"]["code"] for order in refused}
            assert (
                codes == {"server_is_shutting_down"}
                if self.closed
                else codes
                <= {
                    "websocket_stream_limit_reached",
                    "websocket_queue_full",
                }
            )
        elif lane is not None:
            self.names.add(lane)
        self.do(orders)

    def end(self, pick: int, how: str) -> None:
        if not self.active:
            return
        lane = sorted(self.active, key=str)[pick % len(self.active)]
        turn = self.active.pop(lane)
        if how == "refused":
            self.owned -= {steer.id for steer in turn.steers}
            self.do(self.rules.refused(turn, InvalidRequest("No.")))
            return
        response_id = f"resp_{len(self.ids)}"
        self.owned -= {steer.id for steer in turn.steers}
        self.ids.append(response_id)
        steered = self.rules.created(turn, response_id)
        if how == "broken":
            self.do(steered + self.rules.refused(turn, EngineFailed("It broke.")))
            return
        output = [CALL] if how == "call" else []
        status = "completed" if how == "call" else how
        self.do(steered + self.rules.ended(turn, {"id": response_id, "status": status, "output": output}))

    def steer(self, pick: int, *, known: bool) -> None:
        response_id = self.ids[pick % len(self.ids)] if known and self.ids else "resp_other"
        orders = self.rules.event({"type": "response.steer", "previous_response_id": response_id, "input": "no"}, 50)
        kinds = [order.body["type"] for order in orders if isinstance(order, Say)]
        assert kinds[0] in {"response.steer.accepted", "response.steer.failed"}
        self.do(orders)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            for waiting in self.waiting.values():
                waiting.clear()
            self.do(self.rules.close(ShuttingDown("The server is shutting down.")))


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(steps, max_size=120))
def test_random_clients(script: list[tuple[Any, ...]]) -> None:
    world = World()
    for step, *rest in script:
        match step:
            case "create":
                world.create(rest[0], goes_on=rest[1])
            case "end":
                world.end(rest[0], rest[1])
            case "steer":
                world.steer(rest[0], known=rest[1])
            case "close":
                world.close()
    while world.active:
        world.end(0, "completed")
    assert world.rules.idle


def test_seventeen_lanes_begin_in_turn() -> None:
    world = World()
    for number in range(17):
        world.create(f"lane-{number}", goes_on=False)
    assert len(world.active) == 16
    assert "lane-16" not in world.active
    world.end(0, "completed")
    assert "lane-16" in world.active


def test_the_queue_is_bounded() -> None:
    rules = Connection()
    create = {"type": "response.create", "input": "hi"}
    orders = [rules.event(create, 1) for _ in range(limits.SOCKET_QUEUE + 2)]
    [last] = orders[-1]
    assert isinstance(last, Say)
    assert (last.body["status"], last.body["error"]["code"]) == (429, "websocket_queue_full")
    assert orders[-2] == []
    rules = Connection()
    for size, count in ((1, 1), (limits.SOCKET_QUEUE_BYTES, 0), (1, 1)):
        assert len(rules.event(create, size)) == count
