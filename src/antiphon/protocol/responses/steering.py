"""Steering: input that a client adds to a response while it is being made (published: `response.steer`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from antiphon.domain.errors import InvalidRequest
from antiphon.domain.ids import new_id
from antiphon.protocol.refusals import missing_parameter
from antiphon.wire import schema

Json = dict[str, Any]
_MEMBERS = {"type", "previous_response_id", "input"}
_MESSAGE = {"type", "role", "content"}
_PARTS = {"input_text", "input_image", "input_file"}
#: What a call waits for, and how its stub is told from others.
_ANSWERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "function_call": ("function_call_output", ("call_id", "name")),
    "custom_tool_call": ("custom_tool_call_output", ("call_id",)),
}


class SteerRefused(Exception):
    """Steering input that cannot be taken. `code` is one of the published codes."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Steer:
    """One submission. `input` is as it was sent, `messages` as it is put before a model; `size` in bytes."""

    id: str
    response_id: str
    input: str | list[Json]
    messages: list[Json]
    size: int

    def name(self) -> Json:
        """How events name it."""
        return {"id": self.id, "previous_response_id": self.response_id}


def target(event: Json) -> str:
    """The response that is to be steered. Raises `InvalidRequest` if the event cannot even be answered as steering."""
    response_id = event.get("previous_response_id")
    if response_id is None:
        raise missing_parameter("previous_response_id")
    if not isinstance(response_id, str):
        raise _invalid("previous_response_id", "a string")
    if event.get("input") is None:
        raise missing_parameter("input")
    if not isinstance(event["input"], str | list):
        raise _invalid("input", "a string or an array of messages")
    return response_id


def _invalid(param: str, kind: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid type for '{param}': expected {kind}.", code="invalid_type", param=param)


def read(event: Json, size: int) -> Steer:
    """The submission in an event that has a target. Raises `SteerRefused` (code "invalid_input")."""
    strange = sorted(event.keys() - _MEMBERS)
    if strange:
        raise SteerRefused("invalid_input", f"Unknown parameter: '{strange[0]}'.")
    messages = _messages(event["input"])
    checked = schema.check("CreateResponse", {"model": "", "input": messages})
    problem = checked.problem or checked.nested
    if problem is not None:
        raise SteerRefused("invalid_input", problem.message)
    return Steer(new_id("steer_"), event["previous_response_id"], event["input"], messages, size)


def _messages(value: str | list[Json]) -> list[Json]:
    if isinstance(value, str):
        return [{"type": "message", "role": "user", "content": value}]
    if not value:
        raise SteerRefused("invalid_input", "Invalid 'input': an empty array steers nothing.")
    return [_message(item, f"input[{index}]") for index, item in enumerate(value)]


def _message(item: Any, path: str) -> Json:
    if not isinstance(item, dict) or item.get("type", "message") != "message" or item.get("role") != "user":
        raise SteerRefused("invalid_input", f"Invalid '{path}': only messages of the user can steer a response.")
    strange = sorted(name for name in item.keys() - _MESSAGE if item[name] is not None)
    if strange:
        raise SteerRefused("invalid_input", f"Unknown parameter: '{path}.{strange[0]}'.")
    content = item.get("content")
    for index, part in enumerate(content if isinstance(content, list) else ()):
        if not isinstance(part, dict) or part.get("type") not in _PARTS:
            raise SteerRefused(
                "invalid_input", f"Invalid '{path}.content[{index}]': expected input_text, input_image or input_file."
            )
    return {"type": "message", "role": "user", "content": content}


def required_input(response: Json) -> list[Json]:
    """Stubs of what a response waits for before another can go on from it."""
    stubs = []
    for item in response["output"]:
        if item["type"] in _ANSWERS and item.get("status") != "incomplete":
            kind, members = _ANSWERS[item["type"]]
            stubs.append({"type": kind, **{member: item[member] for member in members}})
    return stubs


def put_before(steers: list[Steer], body: Json) -> Json:
    """A request with steering input before its own, in order of submission."""
    own = body.get("input")
    if isinstance(own, str):
        own = [{"type": "message", "role": "user", "content": own}]
    if own is not None and not isinstance(own, list):
        return body  # it will be refused as it is
    return {**body, "input": [*(message for steer in steers for message in steer.messages), *(own or [])]}
