"""A word is hidden from engines and put back in what they say: on every surface, over every kind of engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from antiphon.app.compose import FEATURES
from antiphon.domain.ledger import Entry
from antiphon.engines.scripted import ScriptedEngine, Step
from antiphon.ports import Capabilities
from antiphon.protocol.generation import (
    CallArguments,
    CallStart,
    Finish,
    Generation,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    Usage,
)
from antiphon.stores.store import SqlStore
from support.gate import until
from support.responses_engines import OverAntiphon
from support.rewriting import STAND_IN, WORD, rewriting, texts_of
from support.serving import Serving, serving
from support.sockets import opened
from support.upstream_of import tables, upstream

Body = dict[str, Any]
#: Between the cache and the jobs: as any other feature.
WITH_RULES = (*FEATURES[:-1], rewriting, FEATURES[-1])
END = Finish("stop", Usage(11, 0, 7))
TOOL: Body = {"name": "go", "description": f"Goes to {WORD}.", "parameters": {"type": "object", "properties": {}}}
ON = {"x-antiphon-cache": "on"}


def script(generation: Generation) -> Sequence[Step]:
    """Says where it is told to go, in pieces, in the way that it is asked to."""
    asked = texts_of(generation)
    if "summar" in asked and "BEGIN" not in asked:
        return [TextDelta("They went to PL"), TextDelta("ACE_7."), END]
    if generation.callable_tools():
        return [CallStart("go", "call_1"), CallArguments('{"to": "PLA'), CallArguments('CE_7"}'),
                Finish("tool_calls", Usage(11, 0, 7))]  # fmt: skip
    for word in ("STOP", "BAD", "DENY", "BUG"):
        if f"please {word}" in asked:
            return [TextDelta("Fine. "), TextDelta(f"a secret {STAND_IN}"), TextDelta(word), END]
    if "refuse" in asked:
        return [RefusalDelta("Not to PLACE"), RefusalDelta("_7."), END]
    if "as json" in asked:
        return [TextDelta('{"to": "PLAC'), TextDelta('E_7"}'), END]
    return [
        ReasoningDelta("PLACE_"),
        ReasoningDelta("7?"),
        TextDelta("To P"),
        TextDelta("LACE_7!"),
        TextDelta(" P"),
        END,
    ]


@dataclass
class World:
    """A server with the rules, and the engine that answers in the end."""

    served: Serving
    engine: ScriptedEngine
    model: str

    def checked(self) -> None:
        """No engine has ever seen the word."""
        assert self.engine.asked
        assert not any(WORD in texts_of(each) for each in self.engine.asked)

    def in_store(self, read: Any) -> Any:
        async def main() -> Any:
            store = SqlStore(self.served.settings.database, backups=None)
            await store.open()
            try:
                return await read(store)
            finally:
                await store.close()

        return asyncio.run(main())

    def rows(self, table: str) -> list[Any]:
        """All rows of a table."""

        async def read(store: SqlStore) -> list[Any]:
            return await store._database.read(
                lambda session: [tuple(row) for row in session._cursor.execute(f"SELECT * FROM {table}", {}).fetchall()]
            )

        rows: list[Any] = self.in_store(read)
        return rows


@pytest.fixture(scope="module", params=["local", "chat", "responses"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    path = tmp_path_factory.mktemp(request.param)
    engine = ScriptedEngine(script, capabilities=Capabilities(context_tokens=100_000, continues=True))
    if request.param == "local":
        with serving(engine, path, features=WITH_RULES) as served:
            yield World(served, engine, "scripted")
        return
    with serving(engine, path / "back") as back:
        if request.param == "responses":
            with serving(OverAntiphon(back), path / "front", features=WITH_RULES) as served:
                yield World(served, engine, "remote")
            return
        routes = {"remote": {"targets": [{"upstream": "up", "model": "scripted"}]}}
        settings = tables({"up": upstream(back, path / "key")}, routes)
        with serving(None, path / "front", features=WITH_RULES, **settings) as served:
            yield World(served, engine, "remote")


@pytest.fixture
def client(world: World) -> Iterator[openai.OpenAI]:
    world.engine.asked.clear()
    with world.served.client() as client:
        yield client
    world.checked()


def message(text: str = "") -> Any:
    return [{"role": "user", "content": f"BEGIN go to {WORD} {text}"}]


# --- chat completions -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("choices", [1, 3])
def test_chat(world: World, client: openai.OpenAI, choices: int) -> None:
    whole = client.chat.completions.create(model=world.model, messages=message(), n=choices)
    assert [choice.message.content for choice in whole.choices] == [f"To {WORD}! P"] * choices
    texts: dict[int, str] = {}
    for chunk in client.chat.completions.create(model=world.model, messages=message(), n=choices, stream=True):
        assert STAND_IN not in chunk.model_dump_json()
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
    assert texts == dict.fromkeys(range(choices), f"To {WORD}! P")


def test_chat_tools_json_and_refusals(world: World, client: openai.OpenAI) -> None:
    tools: Any = [{"type": "function", "function": TOOL}]
    called = client.chat.completions.create(model=world.model, messages=message(), tools=tools)
    [call] = called.choices[0].message.tool_calls or []
    assert json.loads(call.function.arguments) == {"to": WORD}  # type: ignore[union-attr]
    pieces = ""
    for chunk in client.chat.completions.create(model=world.model, messages=message(), tools=tools, stream=True):
        for each in chunk.choices[0].delta.tool_calls or [] if chunk.choices else []:
            pieces += (each.function and each.function.arguments) or ""
    assert json.loads(pieces) == {"to": WORD}
    made = client.chat.completions.create(
        model=world.model, messages=message("as json"), response_format={"type": "json_object"}
    )
    assert json.loads(made.choices[0].message.content or "") == {"to": WORD}
    refused = client.chat.completions.create(model=world.model, messages=message("refuse"))
    assert refused.choices[0].message.refusal == f"Not to {WORD}."


def test_a_stored_completion_holds_what_was_let_through(world: World, client: openai.OpenAI) -> None:
    made = client.chat.completions.create(model=world.model, messages=message(), store=True)
    stored = client.chat.completions.retrieve(made.id)
    assert stored.choices[0].message.content == f"To {WORD}! P"
    assert not any(STAND_IN in str(row) for row in world.rows("chat_completions"))


# --- responses --------------------------------------------------------------------------------------------------------
def test_responses(world: World, client: openai.OpenAI) -> None:
    whole = client.responses.create(model=world.model, input=message())
    assert whole.output_text == f"To {WORD}! P"
    with client.responses.stream(model=world.model, input=message()) as events:
        for event in events:
            assert STAND_IN not in event.model_dump_json(warnings=False)
        streamed = events.get_final_response()
    assert streamed.output_text == f"To {WORD}! P"
    thoughts = [item.model_dump_json(warnings=False) for item in streamed.output if item.type == "reasoning"]
    assert thoughts
    assert WORD in thoughts[0] or world.model == "remote", "reasoning is put right where it is shown"
    assert not any(STAND_IN in thought for thought in thoughts)
    assert client.responses.retrieve(streamed.id).output_text == f"To {WORD}! P"
    again = client.responses.create(model=world.model, input=message(), previous_response_id=streamed.id)
    assert again.output_text == f"To {WORD}! P"
    assert STAND_IN in texts_of(world.engine.asked[-1])


def test_responses_tools_json_and_refusals(world: World, client: openai.OpenAI) -> None:
    tools: Any = [{"type": "function", "strict": False, **TOOL}]
    called = client.responses.create(model=world.model, input=message(), tools=tools)
    [call] = [item for item in called.output if item.type == "function_call"]
    assert json.loads(call.arguments) == {"to": WORD}
    made = client.responses.create(
        model=world.model, input=message("as json"), text={"format": {"type": "json_object"}}
    )
    assert json.loads(made.output_text) == {"to": WORD}
    refused = client.responses.create(model=world.model, input=message("refuse"))
    assert f"Not to {WORD}." in refused.model_dump_json(warnings=False)


def test_the_socket(world: World, client: openai.OpenAI) -> None:
    with opened(world.served) as socket:
        done = socket.ask(model=world.model, store=False, input=message())
        assert done["output"][-1]["content"][0]["text"] == f"To {WORD}! P"
        assert STAND_IN not in json.dumps(socket.seen)


def test_background_responses_log_what_was_let_through(world: World, client: openai.OpenAI) -> None:
    accepted = client.responses.create(model=world.model, input=message(), background=True)
    until(lambda: client.responses.retrieve(accepted.id).status == "completed", "it is made")
    events = list(client.responses.retrieve(accepted.id, stream=True))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == f"To {WORD}! P"
    assert client.responses.retrieve(accepted.id).output_text == f"To {WORD}! P"
    for table in ("response_events", "responses", "items"):
        assert not any(STAND_IN.encode() in repr(row).encode() for row in world.rows(table)), table


def test_compaction(world: World, client: openai.OpenAI) -> None:
    compacted = client.responses.compact(model=world.model, input=f"A long story of {WORD}.")
    items = [item.model_dump(exclude_none=True, warnings=False) for item in compacted.output]
    made = client.responses.create(model=world.model, input=[*items, *message()])
    assert made.output_text == f"To {WORD}! P"
    assert f"They went to {STAND_IN}." in texts_of(world.engine.asked[-1])


def test_tokens_are_counted_of_what_the_engine_sees(world: World, client: openai.OpenAI) -> None:
    assert client.responses.input_tokens.count(model=world.model, input=f"go to {WORD}").input_tokens > 0
    client.responses.create(model=world.model, input=message())


# --- cached answers ---------------------------------------------------------------------------------------------------
def test_cached_answers_lie_before_the_filter(world: World, client: openai.OpenAI) -> None:
    asked = message("cached")
    first = client.chat.completions.create(model=world.model, messages=asked, extra_headers=ON)
    raw = client.chat.completions.with_raw_response.create(model=world.model, messages=asked, extra_headers=ON)
    assert raw.headers["x-antiphon-cache"] == "hit"
    made = raw.parse()
    assert made.choices[0].message.content == first.choices[0].message.content == f"To {WORD}! P"
    streamed = client.responses.create(model=world.model, input=asked, extra_headers=ON)
    assert streamed.output_text == f"To {WORD}! P"
    until(lambda: bool(world.rows("cached_answers")), "it is kept")
    assert not any(WORD in repr(row) for row in world.rows("cached_answers"))


# --- what ends, replaces or refuses an answer -------------------------------------------------------------------------
def entry_of(world: World, request_id: str) -> Entry:
    found: list[Entry] = []

    def look() -> bool:
        async def read(store: SqlStore) -> list[Entry]:
            return [*await store.find_entries(request_id)]

        found[:] = world.in_store(read)
        return bool(found)

    until(look, "its row is written")
    return found[0]


@pytest.mark.parametrize(
    ("word", "text", "finish"), [("STOP", "Fine. ", "content_filter"), ("BAD", "Fine. Removed.", "stop")]
)
@pytest.mark.parametrize("stream", [False, True])
def test_ended_and_replaced(
    world: World, client: openai.OpenAI, word: str, text: str, finish: str, stream: bool
) -> None:
    asked: Body = {"model": world.model, "messages": message(f"please {word}"), "stream": stream}
    raw = client.chat.completions.with_raw_response.create(**asked)
    if stream:
        chunks = list(raw.parse())
        shown = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        ends = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
        reason = ends[-1]
    else:
        made = raw.parse()
        shown, reason = made.choices[0].message.content, made.choices[0].finish_reason
    # From upstreams, pieces may come together: what comes with the word is not let through either.
    texts = [text] if world.model == "scripted" else [text, text.removeprefix("Fine. ")]
    assert shown in texts
    assert reason == finish
    entry = entry_of(world, raw.headers["x-request-id"])
    assert (entry.status, entry.error) == (200, None)
    assert entry.output_tokens >= 4, "what was made is billed, whatever was let through"
    response = client.responses.create(model=world.model, input=message(f"please {word}"))
    assert response.output_text in texts
    assert response.status == ("incomplete" if word == "STOP" else "completed")
    assert client.responses.retrieve(response.id).output_text == response.output_text


@pytest.mark.parametrize(("word", "status"), [("DENY", 403), ("BUG", 500)])
def test_errors_of_filters(world: World, client: openai.OpenAI, word: str, status: int) -> None:
    with pytest.raises(openai.APIStatusError) as failed:
        client.chat.completions.create(model=world.model, messages=message(f"please {word}"))
    assert failed.value.status_code == status
    assert "filter" not in str(failed.value)
    with client.responses.stream(model=world.model, input=message(f"please {word}")) as events:
        seen = list(events)
    assert seen[-1].type == "response.failed"
    assert "a secret" not in "".join(event.model_dump_json(warnings=False) for event in seen)


# --- what survives its server -----------------------------------------------------------------------------------------
def test_a_response_that_was_cut_off_is_not_gone_on_with_and_leaks_nothing(tmp_path: Path) -> None:
    go = asyncio.Event()
    held = [TextDelta("To "), TextDelta("PLAC"), go, TextDelta("E_7!"), END]
    engine = ScriptedEngine(lambda _: held, capabilities=Capabilities(context_tokens=10_000, continues=True))
    with serving(engine, tmp_path, features=WITH_RULES, drain_timeout=0.2) as served:
        world = World(served, engine, "scripted")
        accepted = served.client().responses.create(model="scripted", input=message(), background=True)
        until(lambda: len(engine.asked) == 1, "it is begun")
        assert not engine.asked[0].track
    assert not any("PLAC" in repr(row) for row in world.rows("response_events"))
    go.set()
    again = ScriptedEngine(lambda _: [*held[:2], *held[3:]], capabilities=engine.capabilities)
    with serving(again, tmp_path, features=WITH_RULES) as served:
        client = served.client()
        until(lambda: client.responses.retrieve(accepted.id).status in {"failed", "completed"}, "it has ended")
        made = client.responses.retrieve(accepted.id)
        assert made.output_text in ("To ", "", f"To {WORD}!")
        assert (made.status == "completed") == (made.output_text == f"To {WORD}!")
        assert "PLAC" not in made.model_dump_json(warnings=False)
