"""Everything that the official package's types let a program send is taken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import typing_extensions as te
from openai._types import SequenceNotStr
from openai.types.chat import ChatCompletionMessage
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.conversations import ConversationCreateParams, ConversationUpdateParams
from openai.types.conversations.item_create_params import ItemCreateParams
from openai.types.responses import ResponseFunctionToolCall, ResponseItem, ResponseOutputItem
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import BaseModel

from antiphon.wire import schema

#: Strings that fit wherever the package's types only say `str`: by the name of their member.
STRINGS = {"tunnel_id": "tunnel_" + "a" * 32}
#: Numbers that fit wherever the package's types only say `int`.
NUMBERS = {"compact_threshold": 1000, "max_output_tokens": 16}
#: Objects that fit wherever the package's types only say `object`.
OBJECTS = {"filters": {"key": "k", "type": "eq", "value": 1}}


def variants(kind: Any, name: str = "", above: tuple[Any, ...] = ()) -> Iterator[Any]:
    """Sample values of a type: each alternative and each member of it stands in at least one of them."""
    origin, args = te.get_origin(kind), te.get_args(kind)
    if origin in (te.Required, te.NotRequired, te.Annotated):
        yield from variants(args[0], name, above)
    elif te.is_typeddict(kind):
        yield from objects(kind, te.get_type_hints(kind, include_extras=True), above)
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = kind.model_fields.items()
        hints = {
            field.alias or name: te.Required[field.annotation] if field.is_required() else field.annotation
            for name, field in fields
        }
        yield from objects(kind, hints, above)
    elif origin is te.Literal:
        yield from args
    elif origin is dict or kind is dict:
        yield {}
        yield from ({"1": value} for value in variants(args[1] if args else object, name, above))
    elif kind in SCALARS:
        yield {**STRINGS, **NUMBERS, **OBJECTS}.get(name, SCALARS[kind])
    elif kind is type(None):
        yield None
    elif origin is SequenceNotStr or (isinstance(origin, type) and issubclass(origin, Iterable)):
        yield from ([value] for value in variants(args[0], name, above))
    elif args:
        for arg in args:
            yield from variants(arg, name, above)
    else:
        raise AssertionError(f"no sample for {kind!r}")


SCALARS: dict[Any, Any] = {str: "text", int: 1, float: 0.5, bool: True, object: {"any": ["thing"]}}


def objects(kind: Any, hints: dict[str, Any], above: tuple[Any, ...]) -> Iterator[dict[str, Any]]:
    """Sample values of an object: the full one, then once more for each further variant of each member."""
    if above.count(kind) > 1:
        return
    members = {name: list(variants(member, name, (*above, kind))) for name, member in hints.items()}
    base = {name: values[0] for name, values in members.items() if values}
    yield base
    for name, values in members.items():
        yield from ({**base, name: value} for value in values[1:])
    yield {name: value for name, value in base.items() if te.get_origin(hints[name]) is te.Required}


def faults(name: str, samples: Iterable[dict[str, Any]]) -> tuple[list[str], int]:
    """What is found wrong with any sample, and how many samples there were."""
    found: dict[str, None] = {}
    count = 0
    for sample in samples:
        count += 1
        result = schema.check(name, sample)
        if result != (None, (), None):
            found[str(result)] = None
    return list(found), count


def requests(kind: Any, base: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One request for each variant of each member."""
    for name, member in te.get_type_hints(kind, include_extras=True).items():
        yield from ({**base, name: value} for value in variants(member, name))


CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


def test_every_responses_request_of_the_package_is_taken() -> None:
    samples = requests(ResponseCreateParamsNonStreaming, {"model": "m", "input": "Hello"})
    found, count = faults("CreateResponse", samples)
    assert "\n".join(found) == ""
    assert count > 1000, "the types were not walked"


@pytest.mark.parametrize(
    ("name", "kind", "least"),
    [
        ("CreateConversationBody", ConversationCreateParams, 100),
        ("UpdateConversationBody", ConversationUpdateParams, 2),
        ("CreateConversationItems", ItemCreateParams, 100),
    ],
)
def test_every_conversations_request_of_the_package_is_taken(name: str, kind: Any, least: int) -> None:
    # `include` is sent in the query.
    found, count = faults(name, (sample for sample in requests(kind, {}) if "include" not in sample))
    assert "\n".join(found) == ""
    assert count >= least, "the types were not walked"


def test_every_chat_request_of_the_package_is_taken() -> None:
    found, count = faults("CreateChatCompletionRequest", requests(CompletionCreateParamsNonStreaming, CHAT))
    assert "\n".join(found) == ""
    assert count > 150, "the types were not walked"


@pytest.mark.parametrize("union", [ResponseOutputItem, ResponseItem], ids=["output", "input_items"])
@pytest.mark.parametrize("nulls", [True, False], ids=["nulls", "no-nulls"])
def test_every_item_we_may_hand_out_can_be_played_back(union: Any, *, nulls: bool) -> None:
    items = (item if nulls else without_nulls(item) for item in variants(union))
    found, count = faults("CreateResponse", ({"model": "m", "input": [item]} for item in items))
    assert "\n".join(found) == ""
    assert count > 200, "the types were not walked"


@pytest.mark.parametrize("nulls", [True, False], ids=["nulls", "no-nulls"])
def test_every_chat_message_we_may_hand_out_can_be_played_back(*, nulls: bool) -> None:
    messages = (m if nulls else without_nulls(m) for m in variants(ChatCompletionMessage))
    found, count = faults("CreateChatCompletionRequest", ({**CHAT, "messages": [message]} for message in messages))
    assert "\n".join(found) == ""
    assert count > 5, "the types were not walked"


def without_nulls(value: Any) -> Any:
    """`value` as `model_dump(exclude_none=True)` gives it."""
    if isinstance(value, dict):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def test_a_dumped_item_with_a_python_name_for_a_keyword_is_taken() -> None:
    item = ResponseFunctionToolCall(type="function_call", call_id="c", name="f", arguments="{}").model_dump()
    assert "async_" in item, "the package no longer has the name this test is about"
    assert schema.check("CreateResponse", {"model": "m", "input": [item]}) == (None, (), None)
