"""The official Python SDK against the real server with the default model: tools and structured outputs, as enforced.

What a small model writes is often silly; that its calls and its JSON fit is not its doing, and is what is tested.
"""

from __future__ import annotations

import json
from typing import Any, Literal

import openai
import pytest
from openai import OpenAI, pydantic_function_tool
from openai.types.responses import Response, ResponseFunctionToolCall
from pydantic import BaseModel, ConfigDict, TypeAdapter

Tools = list[dict[str, Any]]


def schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


WEATHER = {"type": "function", "name": "get_weather", "description": "The weather of a city.", "strict": True}
WEATHER["parameters"] = schema(city={"type": "string"}, unit={"type": "string", "enum": ["celsius", "fahrenheit"]})
TIME = {"type": "function", "name": "get_time", "description": "The time in a city.", "strict": False}
TIME["parameters"] = schema(city={"type": "string"})
NOTE = {"type": "custom", "name": "write_note", "description": "Writes down a text."}
TOOLS: Any = [WEATHER, TIME]
ASK: dict[str, Any] = {"model": "gpt-5-mini", "temperature": 0, "max_output_tokens": 120}
CITY = "What is the weather in Paris?"


class City(BaseModel):
    model_config = ConfigDict(extra="forbid")
    city: str


class Weather(City):
    """The weather of a city."""

    unit: Literal["celsius", "fahrenheit"]


class Person(BaseModel):
    name: str
    age: int
    mood: Literal["good", "bad"]


ARGUMENTS: dict[str, type[BaseModel]] = {"get_weather": Weather, "get_time": City}


def calls(response: Response) -> list[ResponseFunctionToolCall]:
    """The finished calls, each with arguments that fit its tool."""
    made = [item for item in response.output if item.type == "function_call" and item.status == "completed"]
    for call in made:
        ARGUMENTS[call.name].model_validate_json(call.arguments, strict=True)
    return made


# --- Responses --------------------------------------------------------------------------------------------------------
def test_the_loop_of_a_tool(coder_client: OpenAI) -> None:
    ask: dict[str, Any] = {**ASK, "max_output_tokens": 40, "tools": TOOLS, "parallel_tool_calls": False}
    asked = coder_client.responses.create(**ask, input=CITY, tool_choice="required")
    made = calls(asked)
    assert len(made) == 1
    outputs: Any = [
        {"type": "function_call_output", "call_id": call.call_id, "output": "18 degrees, light rain"} for call in made
    ]
    answered = coder_client.responses.create(**ask, input=outputs, previous_response_id=asked.id)
    assert answered.status in ("completed", "incomplete")
    assert answered.output
    kinds = {item.type for item in coder_client.responses.input_items.list(answered.id)}
    assert kinds == {"function_call_output"}
    # The same without state on the server: everything is given again.
    again: Any = [{"role": "user", "content": CITY}, *(item.to_dict() for item in asked.output), *outputs]
    assert coder_client.responses.create(**ask, input=again, store=False).output
    with pytest.raises(openai.BadRequestError) as refused:
        coder_client.responses.create(**ask, input="Well?", previous_response_id=asked.id)
    assert made[0].call_id in refused.value.message


def test_tool_choice(coder_client: OpenAI) -> None:
    def ask(choice: Any, text: str = CITY, **more: Any) -> Response:
        response: Response = coder_client.responses.create(
            **{**ASK, **more}, input=text, tools=TOOLS, tool_choice=choice
        )
        return response

    assert not calls(ask("none", max_output_tokens=30))
    calls(ask("auto", max_output_tokens=60))
    named = calls(ask({"type": "function", "name": "get_time"}))
    assert {call.name for call in named} == {"get_time"}
    # Something no tool is for.
    forced = calls(ask("required", "Write a poem about the sea.", parallel_tool_calls=False))
    assert forced
    only: dict[str, Any] = {"type": "allowed_tools", "tools": [{"type": "function", "name": "get_time"}]}
    assert {call.name for call in calls(ask({**only, "mode": "required"}))} == {"get_time"}
    assert {call.name for call in calls(ask({**only, "mode": "auto"}, max_output_tokens=60))} <= {"get_time"}
    with pytest.raises(openai.BadRequestError) as refused:
        ask({"type": "function", "name": "get_news"})
    assert refused.value.param == "tool_choice"


def test_parallel_and_not(coder_client: OpenAI) -> None:
    ask: dict[str, Any] = {**ASK, "input": "The weather in Paris, in Rome and in Oslo?", "tools": TOOLS}
    one = coder_client.responses.create(**ask, tool_choice="required", parallel_tool_calls=False)
    assert one.parallel_tool_calls is False
    assert len(calls(one)) == 1
    several = calls(coder_client.responses.create(**ask, tool_choice="required"))
    assert len({call.call_id for call in several}) == len(several) >= 1


def test_arguments_stream_as_they_are_made(coder_client: OpenAI) -> None:
    ask: dict[str, Any] = {**ASK, "input": CITY, "tools": TOOLS, "parallel_tool_calls": False}
    with coder_client.responses.create(**ask, tool_choice="required", stream=True) as stream:
        events = list(stream)
    deltas = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    done = [event.arguments for event in events if event.type == "response.function_call_arguments.done"]
    assert len(deltas) > 3
    assert done == ["".join(deltas)]
    Weather.model_validate_json(done[0]) if "unit" in done[0] else City.model_validate_json(done[0])


def test_parsed_tools(coder_client: OpenAI) -> None:
    tools: Any = [openai.pydantic_function_tool(Weather, name="get_weather")]
    flat: Any = [{"type": "function", **tools[0]["function"]}]
    parsed = coder_client.responses.parse(**ASK, input=CITY, tools=flat, tool_choice="required")
    call = parsed.output[0]
    assert call.type == "function_call"
    Weather.model_validate(call.parsed_arguments)


def test_custom_tools_take_any_text(coder_client: OpenAI) -> None:
    tools: Any = [NOTE]
    ask: dict[str, Any] = {**ASK, "input": "Note: buy milk.", "tools": tools, "parallel_tool_calls": False}
    asked = coder_client.responses.create(**ask, tool_choice={"type": "custom", "name": "write_note"})
    call = asked.output[0]
    assert call.type == "custom_tool_call"
    result: Any = [{"type": "custom_tool_call_output", "call_id": call.call_id, "output": "done"}]
    answered = coder_client.responses.create(**ASK, input=result, tools=tools, previous_response_id=asked.id)
    assert answered.output


def test_structured_outputs(coder_client: OpenAI) -> None:
    ask: dict[str, Any] = {**ASK, "input": "Ada Lovelace, 36 years old, was happy."}
    parsed = coder_client.responses.parse(**ask, text_format=Person)
    assert isinstance(parsed.output_parsed, Person)
    with coder_client.responses.stream(**ask, text_format=Person) as stream:
        for event in stream:
            if event.type == "response.output_text.done":
                assert isinstance(event.parsed, Person)
        assert isinstance(stream.get_final_response().output_parsed, Person)


def test_json_schema_strict_and_not_and_json_object(coder_client: OpenAI) -> None:
    def ask(form: dict[str, Any], text: str = "Tell me about Ada Lovelace.") -> Any:
        given: Any = {"format": form}
        response = coder_client.responses.create(**ASK, input=text, text=given)
        assert response.status == "completed", response.output_text
        return json.loads(response.output_text)

    numbers = schema(numbers={"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2})
    for strict in (True, False):
        answer = ask({"type": "json_schema", "name": "n", "schema": numbers, "strict": strict}, "Two numbers.")
        assert set(answer) == {"numbers"}
        assert [type(number) for number in answer["numbers"]] == [int, int]
    assert isinstance(ask({"type": "json_object"}, "One JSON object with the keys a and b, both small numbers."), dict)
    with pytest.raises(openai.BadRequestError) as refused:
        ask({"type": "json_schema", "name": "n", "schema": {"type": "nonsense"}, "strict": True})
    assert refused.value.param == "text.format.schema"


def test_tools_and_a_schema_together(coder_client: OpenAI) -> None:
    form: Any = {
        "format": {"type": "json_schema", "name": "n", "schema": schema(a={"type": "boolean"}), "strict": True}
    }
    ask: dict[str, Any] = {**ASK, "input": CITY, "tools": TOOLS, "text": form}
    response = coder_client.responses.create(**ask, tool_choice="auto")
    if not calls(response):
        assert list(json.loads(response.output_text)) == ["a"]
    words = coder_client.responses.create(**ask, tool_choice="none")
    assert list(json.loads(words.output_text)) == ["a"]


# --- Chat Completions -------------------------------------------------------------------------------------------------
CHAT_TOOLS: Any = [
    {"type": "function", "function": {name: value for name, value in tool.items() if name != "type"}}
    for tool in (WEATHER, TIME)
]
CHAT: dict[str, Any] = {"model": "gpt-4o-mini", "temperature": 0, "max_completion_tokens": 60}
SAID: Any = [{"role": "user", "content": CITY}]


def test_chat_loop(coder_client: OpenAI) -> None:
    ask: dict[str, Any] = {**CHAT, "tools": CHAT_TOOLS, "parallel_tool_calls": False}
    asked = coder_client.chat.completions.create(**ask, messages=SAID, tool_choice="required")
    choice = asked.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert choice.message.tool_calls
    results = []
    for call in choice.message.tool_calls:
        assert call.type == "function"
        ARGUMENTS[call.function.name].model_validate_json(call.function.arguments, strict=True)
        results.append({"role": "tool", "tool_call_id": call.id, "content": "18 degrees, light rain"})
    after: Any = [*SAID, choice.message.to_dict(), *results]
    answered = coder_client.chat.completions.create(**ask, messages=after)
    assert answered.choices[0].message.content or answered.choices[0].message.tool_calls
    with pytest.raises(openai.BadRequestError):
        coder_client.chat.completions.create(**ask, messages=[*SAID, choice.message.to_dict()])


def test_chat_tool_choice(coder_client: OpenAI) -> None:
    def names(choice: Any, **more: Any) -> list[str]:
        completion = coder_client.chat.completions.create(
            **{**CHAT, **more}, messages=SAID, tools=CHAT_TOOLS, tool_choice=choice
        )
        made = completion.choices[0].message.tool_calls or []
        return [call.function.name for call in made if call.type == "function"]

    assert names("none", max_completion_tokens=20) == []
    assert set(names({"type": "function", "function": {"name": "get_time"}})) == {"get_time"}
    only = {"mode": "required", "tools": [{"type": "function", "function": {"name": "get_time"}}]}
    assert names({"type": "allowed_tools", "allowed_tools": only}, parallel_tool_calls=False) == ["get_time"]


def test_chat_streams_arguments(coder_client: OpenAI) -> None:
    ask: dict[str, Any] = {**CHAT, "messages": SAID, "tools": CHAT_TOOLS, "tool_choice": "required"}
    with coder_client.chat.completions.stream(**ask, parallel_tool_calls=False) as stream:
        deltas = [event.arguments_delta for event in stream if event.type == "tool_calls.function.arguments.delta"]
        final = stream.get_final_completion()
    (call,) = final.choices[0].message.tool_calls or []
    assert call.function.arguments == "".join(deltas)
    assert len(deltas) > 3
    assert final.choices[0].finish_reason == "tool_calls"


def test_chat_parse(coder_client: OpenAI) -> None:
    said: Any = [{"role": "user", "content": "Ada Lovelace, 36 years old, was happy."}]
    completion = coder_client.chat.completions.parse(**CHAT, messages=said, response_format=Person)
    assert isinstance(completion.choices[0].message.parsed, Person)
    tools = [pydantic_function_tool(Weather, name="get_weather")]
    called = coder_client.chat.completions.parse(**CHAT, messages=SAID, tools=tools, tool_choice="required")
    (call, *_) = called.choices[0].message.tool_calls or []
    assert isinstance(call.function.parsed_arguments, Weather)


def test_chat_json(coder_client: OpenAI) -> None:
    def ask(form: Any) -> Any:
        said: Any = [{"role": "user", "content": "One JSON object with the key a, a small number."}]
        completion = coder_client.chat.completions.create(**CHAT, messages=said, response_format=form)
        assert completion.choices[0].finish_reason == "stop"
        return json.loads(completion.choices[0].message.content or "")

    assert isinstance(ask({"type": "json_object"}), dict)
    form = {"name": "n", "schema": schema(a={"type": "integer", "minimum": 3, "maximum": 5}), "strict": True}
    answer = ask({"type": "json_schema", "json_schema": form})
    assert TypeAdapter(dict[Literal["a"], Literal[3, 4, 5]]).validate_python(answer)


def test_the_older_functions(coder_client: OpenAI) -> None:
    functions: Any = [CHAT_TOOLS[1]["function"]]
    functions = [{name: value for name, value in functions[0].items() if name != "strict"}]
    asked = coder_client.chat.completions.create(
        **CHAT, messages=SAID, functions=functions, function_call={"name": "get_time"}
    )
    choice = asked.choices[0]
    assert choice.finish_reason == "function_call"
    assert choice.message.function_call is not None
    City.model_validate_json(choice.message.function_call.arguments)
    after: Any = [*SAID, choice.message.to_dict(), {"role": "function", "name": "get_time", "content": "noon"}]
    answered = coder_client.chat.completions.create(**CHAT, messages=after, functions=functions)
    assert answered.choices[0].message
