"""Inputs that real programs and servers have sent, each with what is right for it.

The inputs stand in `inputs/`, one file for each kind of fault, with the public report that led to it. What is right
stands here as code, under the file's number and, where its cases differ, the case's name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from antiphon.engines.schemas.enforce import normalised
from cases.world import Json, Outcome, World, world

INPUTS = Path(__file__).parent / "inputs"
OSLO_AND_ROME = [("get_weather", {"city": "Oslo"}), ("get_weather", {"city": "Rome"})]

Check = Callable[[Outcome, Json], None]


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("cases")) as there:
        yield there


# --- what is right ----------------------------------------------------------------------------------------------------
def well(outcome: Outcome, request: Json) -> None:
    assert (outcome.status, outcome.error) == (200, None)


def refused(outcome: Outcome, request: Json) -> None:
    assert outcome.status == 400, outcome
    assert outcome.error is not None


def refused_function(outcome: Outcome, request: Json) -> None:
    refused(outcome, request)
    assert outcome.error is not None
    assert outcome.error["code"] == "invalid_function_parameters"


def fits(outcome: Outcome, request: Json) -> None:
    """JSON that fits the schema that was asked for, or the beginning of one."""
    well(outcome, request)
    schema = request["text"]["format"]["schema"]
    if outcome.finish == "incomplete":
        assert outcome.text.startswith("{")
    else:
        _check_fits(schema, outcome.value)


def fits_or_refused(outcome: Outcome, request: Json) -> None:
    (refused if outcome.status == 400 else fits)(outcome, request)


def one_call(outcome: Outcome, request: Json) -> None:
    """The call that had to be made, with arguments that fit, unless it was cut off."""
    well(outcome, request)
    assert [name for name, _ in outcome.calls] == [request["tools"][0]["name"]]
    if outcome.finish != "incomplete":
        _check_fits(request["tools"][0]["parameters"], outcome.calls[0][1])


def _check_fits(schema: Any, value: Any) -> None:
    # The library takes a `$ref` only with what a URI must escape escaped.
    jsonschema_rs.validator_for(normalised(schema), validate_formats=True).validate(value)


def says(text: str) -> Check:
    def check(outcome: Outcome, request: Json) -> None:
        well(outcome, request)
        assert outcome.text == text

    return check


def says_json(value: Any) -> Check:
    def check(outcome: Outcome, request: Json) -> None:
        well(outcome, request)
        assert outcome.value == value

    return check


def calls(*expected: tuple[str, Any]) -> Check:
    def check(outcome: Outcome, request: Json) -> None:
        well(outcome, request)
        assert outcome.calls == list(expected)

    return check


def reaches_the_upstream(outcome: Outcome, request: Json) -> None:
    """Every member of every message, however unknown."""
    well(outcome, request)
    assert outcome.sent[-1]["messages"] == request["messages"]
    if request.get("stream_options"):
        assert outcome.sent[-1]["stream_options"].items() >= request["stream_options"].items()


def upstream_error(outcome: Outcome, request: Json) -> None:
    assert outcome.status in {200, 502}
    assert outcome.error is not None, outcome
    assert outcome.usage is None or outcome.finish == "failed"


def results_follow_calls(outcome: Outcome, request: Json) -> None:
    """Tool messages for all calls stand directly after the message that makes them."""
    well(outcome, request)
    messages = outcome.sent[-1]["messages"]
    for place, message in enumerate(messages):
        asked = [call["id"] for call in message.get("tool_calls") or ()]
        following = messages[place + 1 : place + 1 + len(asked)]
        assert [follower.get("tool_call_id") for follower in following] == asked, messages
    texts = [message["content"] for message in messages if message["role"] == "user"]
    assert texts == [item["content"] for item in request["input"] if item.get("role") == "user"]


def has_a_usage_chunk(outcome: Outcome, request: Json) -> None:
    well(outcome, request)
    last = outcome.events[-1]
    assert last["choices"] == []
    assert all(isinstance(last["usage"][name], int) for name in ("prompt_tokens", "completion_tokens", "total_tokens"))
    assert last["usage"]["completion_tokens"] > 0


def calls_are_numbered(outcome: Outcome, request: Json) -> None:
    """From 0, in order, each with an id."""
    well(outcome, request)
    found = [call for chunk in outcome.events for choice in chunk["choices"]
             for call in choice["delta"].get("tool_calls") or ()]  # fmt: skip
    assert [call["index"] for call in found] == list(range(len(found)))
    assert all(call["id"] for call in found)
    assert outcome.calls == OSLO_AND_ROME[: len(found)]


def stops(outcome: Outcome, request: Json) -> None:
    well(outcome, request)
    assert outcome.finish == "stop"


def failed_or_well(outcome: Outcome, request: Json) -> None:
    """It went on after the empty event: the stream that follows has no end, which is an error of its own."""
    assert outcome.status in {200, 502}
    assert "Expecting value" not in json.dumps(outcome.error)


#: By a file's number, or by that and the name of one of its cases.
RIGHT: dict[str, Check] = {
    "01 strict": fits_or_refused,
    "01 loose": fits,
    "01 tool_choice required": one_call,
    "02": fits,
    "02 tool, not strict": one_call,
    "03": reaches_the_upstream,
    "04": well,
    "05": upstream_error,
    "06": calls(*OSLO_AND_ROME),
    "07": results_follow_calls,
    "08": well,
    "09": says("Hello!"),
    "10": says("A\N{GRINNING FACE}B"),
    "11": says("Hello!"),
    "11 responses upstream": failed_or_well,
    "12": calls_are_numbered,
    "12 role ''": says("Hello!"),
    "12 no id, object, index": says("Hello!"),
    "12 finish_reason eos_token": stops,
    "13": says("Hello!"),
    "13 function call: done without added": calls(OSLO_AND_ROME[0]),
    "14": fits,
    "14 tool, not strict": one_call,
    "15": fits,
    "15 property \u00e9, not strict": one_call,
    "16": refused,
    "16 root array": refused_function,
    "17": fits,
    "18": says_json({"a": "x"}),
    "19": has_a_usage_chunk,
    "20": calls(("get_weather", {})),
}


def all_cases() -> Iterator[Any]:
    for file in sorted(INPUTS.glob("*.json")):
        for number, case in enumerate(json.loads(file.read_text("utf-8"))["cases"]):
            surface = "chat" if "chat" in case["path"] else "responses"
            yield pytest.param(file.stem[:2], case, id=f"{file.stem}-{number}-{surface}-{case['name'] or 'whole'}")


@pytest.mark.parametrize(("number", "case"), list(all_cases()))
def test_case(number: str, case: Json, there: World) -> None:
    """The case is answered as is right for it."""
    check = RIGHT.get(f"{number} {case['name']}") or RIGHT[number]
    check(there.ask(case["path"], case["request"], case.get("upstream")), case["request"])
