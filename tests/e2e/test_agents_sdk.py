"""The OpenAI Agents SDK against the server: tools, handoffs, structured output, and its session in a conversation."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from antiphon.engines.scripted import ScriptedEngine, Step
from antiphon.protocol.generation import (
    CallArguments,
    CallStart,
    Finish,
    Generation,
    Message,
    TextDelta,
    ToolResult,
    Usage,
)
from support.serving import Serving, serving

CALLED = Finish("tool_calls", Usage(1, 0, 1))
SAID = Finish("stop", Usage(1, 0, 1))


def director(generation: Generation) -> Sequence[Step]:
    """Call the first tool there is; after its result, say it; without tools, answer in the form that is asked for."""
    last = generation.turns[-1]
    if isinstance(last, ToolResult):
        return [TextDelta(f"It says: {last.output}"), SAID]
    if generation.output.kind == "json_schema":
        return [TextDelta('{"city": "Paris", "degrees": 18}'), SAID]
    tools = generation.callable_tools()
    if tools:
        arguments = {"city": "Paris"} if tools[0].name == "weather" else {}
        return [CallStart(tools[0].name, "call_1"), CallArguments(json.dumps(arguments)), CALLED]
    users = sum(isinstance(turn, Message) and turn.role == "user" for turn in generation.turns)
    return [TextDelta(f"{users} questions so far."), SAID]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(ScriptedEngine(director), tmp_path_factory.mktemp("agents")) as served:
        yield served


def run(served: Serving, work: Any) -> Any:
    """Run `work` (given the SDK and a client) with the SDK pointed here; its traces go nowhere."""
    import agents
    from openai import AsyncOpenAI

    async def main() -> Any:
        async with AsyncOpenAI(base_url=f"{served.url}/v1", api_key=served.key, max_retries=0) as client:
            agents.set_default_openai_client(client, use_for_tracing=False)
            agents.set_tracing_disabled(True)
            return await work(agents, client)

    return asyncio.run(main())


def test_an_agent_calls_its_function_and_says_what_came_of_it(served: Serving) -> None:
    asked: list[str] = []

    async def work(agents: Any, _: Any) -> Any:
        @agents.function_tool
        def weather(city: str) -> str:
            """The weather of a city."""
            asked.append(city)
            return f"{city}: 18 degrees"

        agent = agents.Agent(name="helper", instructions="Help.", model="gpt-5-mini", tools=[weather])
        return await agents.Runner.run(agent, "What is the weather in Paris?")

    result = run(served, work)
    assert asked == ["Paris"]
    assert result.final_output == "It says: Paris: 18 degrees"


def test_it_streams(served: Serving) -> None:
    async def work(agents: Any, _: Any) -> str:
        agent = agents.Agent(name="helper", model="gpt-5-mini")
        result = agents.Runner.run_streamed(agent, "Hello.")
        text = ""
        async for event in result.stream_events():
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                text += event.data.delta
        return text

    assert run(served, work) == "1 questions so far."


def test_an_agent_hands_over_to_another(served: Serving) -> None:
    async def work(agents: Any, _: Any) -> Any:
        expert = agents.Agent(name="expert", instructions="You know it.", model="gpt-5-mini")
        desk = agents.Agent(name="desk", instructions="Pass it on.", model="gpt-5-mini", handoffs=[expert])
        return await agents.Runner.run(desk, "A hard question.")

    result = run(served, work)
    assert result.last_agent.name == "expert"
    assert result.final_output.startswith("It says:")


class Weather(BaseModel):
    city: str
    degrees: int


def test_the_answer_has_the_form_that_was_asked_for(served: Serving) -> None:
    async def work(agents: Any, _: Any) -> Any:
        agent = agents.Agent(name="helper", model="gpt-5-mini", output_type=Weather)
        return await agents.Runner.run(agent, "The weather in Paris?")

    assert run(served, work).final_output == Weather(city="Paris", degrees=18)


def test_a_session_lives_in_a_conversation(served: Serving) -> None:
    async def work(agents: Any, client: Any) -> Any:
        session = agents.OpenAIConversationsSession(openai_client=client)
        agent = agents.Agent(name="helper", model="gpt-5-mini")
        first = await agents.Runner.run(agent, "One.", session=session)
        second = await agents.Runner.run(agent, "Two.", session=session)
        items = await session.get_items()
        await session.clear_session()
        return first.final_output, second.final_output, items

    first, second, items = run(served, work)
    assert first == "1 questions so far."
    assert second == "2 questions so far."
    assert [item["role"] for item in items] == ["user", "assistant", "user", "assistant"]


def test_an_agent_with_a_real_model(coder: Any) -> None:
    async def work(agents: Any, _: Any) -> Any:
        @agents.function_tool
        def add(a: int, b: int) -> int:
            """Add two numbers."""
            return a + b

        settings = agents.ModelSettings(tool_choice="required", temperature=0)
        agent = agents.Agent(
            name="adder",
            instructions="Use the tool to add.",
            model="gpt-5-mini",
            tools=[add],
            model_settings=settings,
            tool_use_behavior="stop_on_first_tool",
        )
        return await agents.Runner.run(agent, "What is 3 plus 4?")

    server = Serving(coder.base_url.removesuffix("/v1"), coder.key, Path(), None, None)  # type: ignore[arg-type]  # only its address is used
    assert int(run(server, work).final_output) == 7
