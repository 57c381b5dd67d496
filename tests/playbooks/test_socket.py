"""Playbooks of a WebSocket connection's rules: what the client says, what becomes of responses, what is ordered."""

from __future__ import annotations

from typing import Any

import pytest

from antiphon.domain import limits
from antiphon.domain.errors import EngineFailed, InvalidRequest, Overloaded, ShuttingDown
from antiphon.protocol.responses.lanes import Turn
from antiphon.protocol.responses.socket import Begin, Connection, Forget, Interrupt, Order, Say, error_event

CALL = {"type": "function_call", "status": "completed", "call_id": "call_1", "name": "add", "arguments": "{}"}
CUSTOM = {"type": "custom_tool_call", "status": "completed", "call_id": "call_2", "name": "sh", "input": "ls"}


def create(rules: Connection, **fields: Any) -> list[Order]:
    return rules.event({"type": "response.create", "model": "m", "input": "hi", **fields}, 10)


def begun(orders: list[Order]) -> Turn:
    [order] = [order for order in orders if isinstance(order, Begin)]
    return order.turn


def making(rules: Connection, response_id: str, **fields: Any) -> Turn:
    turn = begun(create(rules, **fields))
    assert rules.created(turn, response_id) == []
    return turn


def end(rules: Connection, turn: Turn, status: str = "completed", *output: dict[str, Any]) -> list[Order]:
    return rules.ended(turn, {"id": turn.response_id, "status": status, "output": list(output)})


def steer(rules: Connection, response_id: str, given: Any = "stop", **fields: Any) -> list[Order]:
    event = {"type": "response.steer", "previous_response_id": response_id, "input": given, **fields}
    return rules.event(event, 10)


def said(orders: list[Order]) -> list[dict[str, Any]]:
    return [order.body for order in orders if isinstance(order, Say)]


def failures(orders: list[Order]) -> list[tuple[str, str | None]]:
    return [(body["error"]["code"], body["steer"].get("id")) for body in said(orders)]


def test_a_turn_is_the_request_without_its_envelope() -> None:
    turn = begun(create(Connection(), stream_id="a", generate=False, stream=True, store=False))
    assert turn.body == {"model": "m", "input": "hi", "store": False}
    assert (turn.lane, turn.generate) == ("a", False)


def test_a_lane_goes_on_when_its_turn_has_ended() -> None:
    rules = Connection()
    first = making(rules, "resp_1")
    assert create(rules, input="second") == []
    assert begun(create(rules, input="aside", stream_id="b")).lane == "b"
    assert begun(end(rules, first)).body["input"] == "second"


@pytest.mark.parametrize("name", ["", "a b", "ä", "a\n", "x" * 257, 5, ["a"]])
def test_names_that_are_none(name: object) -> None:
    [body] = said(create(Connection(), stream_id=name))
    assert (body["status"], body["error"]["code"], body["error"]["param"]) == (400, "invalid_stream_id", "stream_id")
    assert "stream_id" not in body


def test_the_thirty_third_lane() -> None:
    rules = Connection()
    for number in range(limits.SOCKET_LANES):
        assert not said(create(rules, stream_id=f"{'x' * 250}{number}"))
    [body] = said(create(rules, stream_id="one.more"))
    assert (body["status"], body["error"]["code"]) == (400, "websocket_stream_limit_reached")
    assert body["stream_id"] == "one.more"
    assert not said(create(rules)), "the default lane does not count"
    assert not said(create(rules, stream_id=f"{'x' * 250}0"))


@pytest.mark.parametrize(
    ("event", "code", "param"),
    [
        ([], "invalid_type", None),
        ("hi", "invalid_type", None),
        ({}, "missing_required_parameter", "type"),
        ({"type": "response.cancel"}, "invalid_value", "type"),
        ({"type": ["response.create"]}, "invalid_value", "type"),
        ({"type": "response.steer", "input": "x"}, "missing_required_parameter", "previous_response_id"),
        ({"type": "response.steer", "previous_response_id": 1, "input": "x"}, "invalid_type", "previous_response_id"),
        ({"type": "response.steer", "previous_response_id": "x"}, "missing_required_parameter", "input"),
        ({"type": "response.steer", "previous_response_id": "x", "input": 5}, "invalid_type", "input"),
    ],
)
def test_events_that_are_none(event: object, code: str, param: str | None) -> None:
    [body] = said(Connection().event(event, 10))
    assert (body["type"], body["status"]) == ("error", 400)
    assert (body["error"]["code"], body["error"]["param"]) == (code, param)


def test_errors_without_a_code_still_have_one() -> None:
    assert error_event(InvalidRequest("No."))["error"]["code"] == "invalid_request_error"
    assert error_event(Overloaded("Busy."), "a") == {
        "type": "error",
        "status": 503,
        "error": {
            "type": "service_unavailable_error",
            "code": "server_is_overloaded",
            "message": "Busy.",
            "param": None,
            "headers": {"retry-after": "1"},
        },
        "stream_id": "a",
    }


# --- what a failure does to its parent --------------------------------------------------------------------------------
def test_a_failed_continuation_evicts_its_parent() -> None:
    rules = Connection()
    end(rules, making(rules, "resp_1", stream_id="a"))
    turn = begun(create(rules, stream_id="a", previous_response_id="resp_1"))
    orders = rules.refused(turn, InvalidRequest("No.", code="c"))
    assert [body["stream_id"] for body in said(orders)] == ["a"]
    assert Forget("resp_1") in orders


def test_a_failed_fork_does_not() -> None:
    rules = Connection()
    end(rules, making(rules, "resp_1", stream_id="a"))
    turn = begun(create(rules, stream_id="b", previous_response_id="resp_1"))
    assert not [order for order in rules.refused(turn, EngineFailed("No.")) if isinstance(order, Forget)]


# --- steering ---------------------------------------------------------------------------------------------------------
def test_steering_an_active_response() -> None:
    rules = Connection()
    turn = making(rules, "resp_1", stream_id="a", instructions="Be brief.", previous_response_id="resp_0")
    assert create(rules, stream_id="a", input="later") == []
    orders = steer(rules, "resp_1")
    [accepted] = said(orders)
    assert accepted["type"] == "response.steer.accepted"
    assert (accepted["stream_id"], accepted["steer"]["previous_response_id"]) == ("a", "resp_1")
    assert orders[-1] == Interrupt(turn)
    successor = begun(end(rules, turn, "incomplete"))
    assert successor.automatic
    assert successor.body == {
        "model": "m",
        "instructions": "Be brief.",
        "previous_response_id": "resp_1",
        "input": [{"type": "message", "role": "user", "content": "stop"}],
    }
    rules.created(successor, "resp_2")
    assert begun(end(rules, successor)).body["input"] == "later"


def test_several_steers_go_in_order_and_into_one_successor() -> None:
    rules = Connection()
    turn = making(rules, "resp_1")
    steer(rules, "resp_1", "one")
    steer(rules, "resp_1", [{"role": "user", "content": [{"type": "input_text", "text": "two"}]}])
    assert [item["content"] for item in begun(end(rules, turn)).body["input"]] == [
        "one",
        [{"type": "input_text", "text": "two"}],
    ]


def test_a_response_that_waits_for_tools() -> None:
    rules = Connection()
    turn = making(rules, "resp_1")
    [accepted] = said(steer(rules, "resp_1"))
    [pending] = said(end(rules, turn, "completed", CALL, CUSTOM))
    assert pending["type"] == "response.steer.pending"
    assert pending["reason"] == "waiting_for_required_input"
    assert pending["steer"] == accepted["steer"]
    assert pending["required_input"] == [
        {"type": "function_call_output", "call_id": "call_1", "name": "add"},
        {"type": "custom_tool_call_output", "call_id": "call_2"},
    ]
    # One more, now that it waits.
    assert [body["type"].rpartition(".")[2] for body in said(steer(rules, "resp_1", "now"))] == ["accepted", "pending"]
    # A fork on another lane does not take them.
    assert begun(create(rules, stream_id="b", previous_response_id="resp_1")).body["input"] == "hi"
    outputs = [{"type": "function_call_output", "call_id": "call_1", "output": "3"}]
    turn = begun(create(rules, previous_response_id="resp_1", input=outputs, instructions="Its own."))
    assert [item.get("content") for item in turn.body["input"]] == ["stop", "now", None]
    assert turn.body["instructions"] == "Its own."
    rules.created(turn, "resp_2")
    assert failures(steer(rules, "resp_1")) == [("response_already_completed", None)]


def test_a_continuation_that_fails_gives_its_steering_back() -> None:
    rules = Connection()
    turn = making(rules, "resp_1")
    [accepted] = said(steer(rules, "resp_1"))
    end(rules, turn, "completed", CALL)
    turn = begun(create(rules, previous_response_id="resp_1", input="no output"))
    error, failed = said(rules.refused(turn, InvalidRequest("No tool output.", code="c")))
    assert error["error"]["code"] == "c"
    assert failed["error"]["code"] == "successor_creation_failed"
    assert failed["steer"] == {**accepted["steer"], "input": "stop"}


def test_a_successor_that_fails_gives_its_steering_back() -> None:
    rules = Connection()
    turn = making(rules, "resp_1")
    [accepted] = said(steer(rules, "resp_1"))
    successor = begun(end(rules, turn, "incomplete"))
    assert failures(rules.refused(successor, Overloaded("Busy."))) == [
        ("successor_creation_failed", accepted["steer"]["id"])
    ]
    assert rules.idle


def test_a_response_that_fails_gives_its_steering_back() -> None:
    rules = Connection()
    turn = making(rules, "resp_1")
    [accepted] = said(steer(rules, "resp_1"))
    assert failures(end(rules, turn, "failed")) == [("response_not_active", accepted["steer"]["id"])]
    assert failures(steer(rules, "resp_1")) == [("response_not_active", None)]


@pytest.mark.parametrize(
    "given",
    [
        [],
        [{"role": "assistant", "content": "x"}],
        [{"role": "system", "content": "x"}],
        [{"type": "function_call_output", "call_id": "c", "output": "x"}],
        [{"role": "user", "content": "x", "id": "msg_1"}],
        [{"role": "user", "content": [{"type": "output_text", "text": "x"}]}],
        [{"role": "user", "content": [{"type": "input_text"}]}],
        [{"role": "user", "content": 5}],
        [{"role": "user"}],
        ["x"],
        [None],
    ],
)
def test_input_that_cannot_steer(given: Any) -> None:
    rules = Connection()
    making(rules, "resp_1", stream_id="a")
    [body] = said(steer(rules, "resp_1", given))
    assert (body["type"], body["error"]["code"]) == ("response.steer.failed", "invalid_input")
    assert body["error"]["message"]
    assert body["steer"] == {"previous_response_id": "resp_1", "input": given}
    assert body["stream_id"] == "a"


def test_steering_takes_nothing_else() -> None:
    rules = Connection()
    making(rules, "resp_1", stream_id="a")
    assert failures(steer(rules, "resp_1", stream_id="a")) == [("invalid_input", None)]


@pytest.mark.parametrize("fields", [{"conversation": "conv_1"}, {"context_management": [{}]}, {"generate": False}])
def test_responses_that_cannot_be_steered(fields: dict[str, Any]) -> None:
    rules = Connection()
    making(rules, "resp_1", **fields)
    assert failures(steer(rules, "resp_1")) == [("steering_not_supported", None)]


def test_steering_what_is_not_there_any_more() -> None:
    rules = Connection()
    assert failures(steer(rules, "resp_1")) == [("response_not_found", None)]
    end(rules, making(rules, "resp_1"))
    assert failures(steer(rules, "resp_1")) == [("response_already_completed", None)]
    end(rules, making(rules, "resp_2"), "incomplete")
    assert failures(steer(rules, "resp_2")) == [("response_not_active", None)]


def test_too_much_steering() -> None:
    rules = Connection()
    making(rules, "resp_1")
    for _ in range(limits.MAX_STEERS):
        assert said(steer(rules, "resp_1"))[0]["type"] == "response.steer.accepted"
    assert failures(steer(rules, "resp_1")) == [("too_many_pending_steers", None)]


def test_what_ended_long_ago_is_forgotten() -> None:
    rules = Connection()
    turn = making(rules, "resp_0")
    [accepted] = said(steer(rules, "resp_0"))
    end(rules, turn, "completed", CALL)
    lost: list[Order] = []
    for number in range(limits.SOCKET_KNOWN + limits.SOCKET_ACTIVE):
        turn = begun(create(rules))
        lost += rules.created(turn, f"resp_{number + 1}")
        end(rules, turn)
    assert failures(lost) == [("response_not_active", accepted["steer"]["id"])]
    assert failures(steer(rules, "resp_0")) == [("response_not_found", None)]


def test_closing() -> None:
    rules = Connection()
    first = making(rules, "resp_1")
    steer(rules, "resp_1")
    waits = making(rules, "resp_2", stream_id="b")
    [kept] = said(steer(rules, "resp_2"))
    end(rules, waits, "completed", CALL)
    create(rules, input="queued")
    error, failed = said(rules.close(ShuttingDown("Bye.")))
    assert error["error"]["code"] == "server_is_shutting_down"
    assert (failed["steer"]["id"], failed["stream_id"]) == (kept["steer"]["id"], "b")
    assert [body["error"]["code"] for body in said(create(rules))] == ["server_is_shutting_down"]
    assert [code for code, _ in failures(end(rules, first, "incomplete"))] == ["successor_creation_failed"]
    assert rules.idle
