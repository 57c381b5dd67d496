"""What the model is shown: counted, truncated, compacted. A scripted model, the real server, the official SDK."""

from __future__ import annotations

import asyncio
import base64
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from antiphon.domain.errors import Overloaded
from antiphon.engines.scripted import ScriptedEngine, Step
from antiphon.ports import Capabilities
from antiphon.protocol.generation import CallArguments, CallStart, Finish, Generation, Message, TextDelta, Usage
from conformance.sequence import check_sequence
from conformance.spec import check_compacted, check_item, check_response, check_response_event
from support.real import wait_for
from support.serving import Serving, other_project, serving

SUMMARY = "Ada likes blue; the code is 4711."
TOOL: dict[str, Any] = {
    "type": "function",
    "name": "look",
    "parameters": {"type": "object", "properties": {}},
    "strict": False,
}


def is_summary(generation: Generation) -> bool:
    return isinstance(generation.turns[0], Message) and generation.turns[0].text.startswith("You write the summary")


def script(generation: Generation) -> list[Step]:
    if is_summary(generation):
        return [TextDelta(SUMMARY), Finish("stop", Usage(100, 10, 20))]
    if generation.tools and not any(turn.__class__.__name__ == "ToolResult" for turn in generation.turns):
        return [CallStart("look", "call_1"), CallArguments("{}"), Finish("tool_calls", Usage(5, 0, 2))]
    return [TextDelta("Fine."), Finish("stop", Usage(7, 1, 3))]


@pytest.fixture(scope="module")
def engine() -> ScriptedEngine:
    return ScriptedEngine(script, capabilities=Capabilities(context_tokens=4000, continues=True))


@pytest.fixture(scope="module")
def served(engine: ScriptedEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(engine, tmp_path_factory.mktemp("context")) as server:
        yield server


@pytest.fixture
def client(served: Serving, engine: ScriptedEngine) -> openai.OpenAI:
    engine.asked.clear()
    return served.client()


def raw(served: Serving, path: str, body: Any, key: str | None = None) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {key or served.key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{served.url}/v1{path}", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def refused(served: Serving, path: str, body: Any, key: str | None = None) -> tuple[int, str | None, str | None]:
    status, answer = raw(served, path, body, key)
    return status, answer["error"]["code"], answer["error"]["param"]


def said(generation: Generation) -> list[tuple[str, str]]:
    return [(turn.role, turn.text) for turn in generation.turns if isinstance(turn, Message)]


def words(count: int, word: str = "word") -> str:
    return " ".join([word] * count)


# --- counting ---------------------------------------------------------------------------------------------------------
def test_tokens_are_counted_as_they_would_be_shown(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    first = client.responses.create(model="scripted", input="one two three")
    asked = len(engine.asked)
    count = client.responses.input_tokens.count(
        model="scripted", input="four five", instructions="be brief", previous_response_id=first.id
    )
    assert (count.object, count.input_tokens) == ("response.input_tokens", 2 + 3 + 1 + 2)
    # Without a model, that of the previous response counts; without input, what was said before.
    assert client.responses.input_tokens.count(previous_response_id=first.id).input_tokens == 4
    assert len(engine.asked) == asked, "nothing is generated for a count"


def test_bad_counts(served: Serving) -> None:
    path = "/responses/input_tokens"
    assert refused(served, path, {}) == (400, "missing_required_parameter", "input")
    assert refused(served, path, {"input": "a"}) == (400, "missing_required_parameter", "model")
    assert refused(served, path, {"input": "a", "model": "nobody"}) == (404, "model_not_found", "model")
    assert refused(served, path, {"input": "a", "model": "scripted", "stream": True}) == (
        400,
        "unknown_parameter",
        "stream",
    )
    assert refused(served, path, {"input": 5, "model": "scripted"})[:3] == (400, "invalid_type", "input")
    assert refused(served, path, {"input": "a", "model": "scripted", "personality": "friendly"}) == (
        400,
        "unsupported_parameter",
        "personality",
    )
    for body in ({"previous_response_id": "resp_none"}, {"previous_response_id": "resp_none", "model": "scripted"}):
        assert refused(served, path, body) == (400, "previous_response_not_found", "previous_response_id")
    assert refused(served, path, [])[0] == 400


def test_another_projects_response_is_not_counted(served: Serving, client: openai.OpenAI) -> None:
    mine = client.responses.create(model="scripted", input="a").id
    key = other_project(served, "counter")
    for path in ("/responses/input_tokens", "/responses/compact"):
        body = {"previous_response_id": mine, "model": "scripted"}
        assert refused(served, path, body, key) == (400, "previous_response_not_found", "previous_response_id")


# --- compact ----------------------------------------------------------------------------------------------------------
def test_compact_and_go_on(client: openai.OpenAI, engine: ScriptedEngine, served: Serving) -> None:
    first = client.responses.create(
        model="scripted",
        input=[{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "I am Ada."}],
    )
    compacted = client.responses.compact(model="scripted", previous_response_id=first.id, input="My code is 4711.")
    assert (compacted.object, compacted.usage.input_tokens, compacted.usage.output_tokens) == (
        "response.compaction",
        100,
        20,
    )
    assert [item.type for item in compacted.output] == ["message", "message", "compaction"]
    task, conversation = said(engine.asked[-1])
    assert "Be brief." in task[1]
    assert "User: I am Ada.\n\nAssistant: Fine.\n\nUser: My code is 4711." in conversation[1]

    window: Any = [item.to_dict(warnings=False) for item in compacted.output]
    second = client.responses.create(model="scripted", input=[*window, {"role": "user", "content": "Who am I?"}])
    (order, summary, question) = said(engine.asked[-1])
    assert order == ("developer", "Be brief.")
    assert summary[0] == "user"
    assert SUMMARY in summary[1]
    assert "I am Ada." in summary[1]
    assert question == ("user", "Who am I?")
    # It is kept and listed as it was sent, and holds for the rest of the chain.
    listed = list(client.responses.input_items.list(second.id, order="asc"))
    for item in listed:
        check_item(json.loads(item.to_json()))
    assert json.loads(listed[2].to_json()) == window[2]
    client.responses.create(model="scripted", input="And now?", previous_response_id=second.id)
    assert [text for _, text in said(engine.asked[-1])][2:] == ["Who am I?", "Fine.", "And now?"]


def test_what_is_compacted_is_neither_readable_nor_stored(client: openai.OpenAI, served: Serving) -> None:
    status, body = raw(served, "/responses/compact", {"model": "scripted", "input": "A secret: xyzzy-plugh."})
    assert status == 200
    check_compacted(body)
    sealed = body["output"][-1]["encrypted_content"]
    content = base64.urlsafe_b64decode(sealed)
    assert b"xyzzy" not in content
    assert SUMMARY.encode() not in content
    for file in served.data_dir.path.iterdir():
        assert file.is_dir() or b"xyzzy-plugh" not in file.read_bytes(), file


def test_compacting_again_goes_on_from_the_summary(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    once = client.responses.compact(model="scripted", input="First words.")
    window: Any = [item.to_dict(warnings=False) for item in once.output]
    twice = client.responses.compact(model="scripted", input=[*window, {"role": "user", "content": "Second words."}])
    conversation = said(engine.asked[-1])[1][1]
    assert SUMMARY in conversation
    assert "User: Second words." in conversation
    assert [item.type for item in twice.output] == ["message", "message", "compaction"]


def test_a_long_history_is_summarised_in_pieces_that_fit(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    items: Any = [{"role": "user", "content": f"n{number} {words(100)}"} for number in range(100)]
    compacted = client.responses.compact(model="scripted", input=items)
    assert len(engine.asked) > 1
    assert all(is_summary(generation) for generation in engine.asked)
    told = "".join(text for generation in engine.asked for _, text in said(generation)[1:])
    assert all(f"User: n{number} " in told for number in range(100))
    assert all(sum(len(text.split()) for _, text in said(generation)) < 4000 for generation in engine.asked)
    assert all(SUMMARY in said(generation)[1][1] for generation in engine.asked[1:])
    assert compacted.usage.output_tokens == 20 * len(engine.asked)
    assert len(compacted.output) == 101


def test_a_history_without_end_is_refused_before_it_is_summarised(served: Serving, engine: ScriptedEngine) -> None:
    engine.asked.clear()
    body = {"model": "scripted", "input": words(1_500_000)}
    assert refused(served, "/responses/compact", body) == (400, "context_length_exceeded", "input")
    assert not engine.asked


def test_bad_compacts(served: Serving) -> None:
    path = "/responses/compact"
    assert refused(served, path, {"input": "a"}) == (400, "missing_required_parameter", "model")
    assert refused(served, path, {"input": "a", "model": None}) == (400, "missing_required_parameter", "model")
    assert refused(served, path, {"model": "scripted"}) == (400, "missing_required_parameter", "input")
    assert refused(served, path, {"model": "nobody", "input": "a"}) == (404, "model_not_found", "model")
    assert refused(served, path, {"model": "scripted", "input": []}) == (400, "invalid_value", "input")
    assert refused(served, path, {"model": "scripted", "input": "a", "tools": []}) == (
        400,
        "unknown_parameter",
        "tools",
    )
    lonely = [{"type": "function_call_output", "call_id": "c", "output": "1"}]
    assert refused(served, path, {"model": "scripted", "input": lonely}) == (400, "invalid_value", "input")


def test_a_model_without_words_fails_clearly(tmp_path: Path) -> None:
    silent = ScriptedEngine(lambda _: [Finish("stop", Usage(1, 0, 0))])
    with serving(silent, tmp_path) as server:
        assert refused(server, "/responses/compact", {"model": "scripted", "input": "a"}) == (
            500,
            "compaction_failed",
            None,
        )


# --- tampering --------------------------------------------------------------------------------------------------------
def test_tampered_foreign_and_invented_items_are_refused(served: Serving, client: openai.OpenAI) -> None:
    made: Any = client.responses.compact(model="scripted", input="a").output[-1]
    sealed = made.encrypted_content
    middle = len(sealed) // 2
    changed = sealed[:middle] + ("A" if sealed[middle] != "A" else "B") + sealed[middle + 1 :]
    for content in (changed, sealed[:-4], sealed + "AAAA", "", "gAAAAA-not-ours", "é"):
        body = {
            "model": "scripted",
            "input": [{"role": "user", "content": "a"}, {"type": "compaction", "encrypted_content": content}],
        }
        for path in ("/responses", "/responses/input_tokens", "/responses/compact"):
            expected = (400, "invalid_encrypted_content", "input[1].encrypted_content")
            assert refused(served, path, body) == expected, (path, content)
    # Another project's is as foreign as any.
    key = other_project(served, "thief")
    body = {"model": "scripted", "input": [{"type": "compaction", "encrypted_content": sealed}]}
    assert refused(served, "/responses", body, key) == (400, "invalid_encrypted_content", "input[0].encrypted_content")
    assert raw(served, "/responses", body)[0] == 200


# --- by context_management --------------------------------------------------------------------------------------------
MANAGED: dict[str, Any] = {"context_management": [{"type": "compaction", "compact_threshold": 1000}]}


def test_below_the_threshold_nothing_happens(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    response = client.responses.create(model="scripted", input="short", **MANAGED)
    assert [item.type for item in response.output] == ["message"]
    assert len(engine.asked) == 1


def test_above_the_threshold_the_past_is_compacted_and_the_question_answered(
    client: openai.OpenAI, engine: ScriptedEngine
) -> None:
    first = client.responses.create(model="scripted", input=f"I am Ada. {words(900)}")
    ask: dict[str, Any] = {"model": "scripted", "input": f"Who am I? {words(200)}", "previous_response_id": first.id}
    events = list(client.responses.create(**ask, **MANAGED, stream=True))
    bodies = [json.loads(event.to_json()) for event in events]
    check_sequence(bodies)
    for body in bodies:
        check_response_event(body)
    final: Any = bodies[-1]["response"]
    assert [item["type"] for item in final["output"]] == ["compaction", "message"]
    assert final["usage"]["input_tokens"] == 100 + 7
    assert final["usage"]["output_tokens"] == 20 + 3
    assert final["usage"]["input_tokens_details"]["cached_tokens"] == 11
    summary, answer = engine.asked[-2:]
    assert is_summary(summary)
    assert "Who am I?" not in said(summary)[1][1]
    assert [role for role, _ in said(answer)] == ["user", "user"]
    assert SUMMARY in said(answer)[0][1]
    assert said(answer)[1][1].startswith("Who am I?")

    # Later turns start from the item, with what was kept beside the summary.
    client.responses.create(model="scripted", input="Sure?", previous_response_id=final["id"])
    texts = [text for _, text in said(engine.asked[-1])]
    assert [text[:9] for text in texts[1:]] == ["Who am I?", "Fine.", "Sure?"]
    assert SUMMARY in texts[0]
    # So do those of a client that sends everything itself, with what stood before the item or without it.
    client.responses.create(model="scripted", input=[*final["output"], {"role": "user", "content": "Sure?"}])
    assert [text for _, text in said(engine.asked[-1])] == texts


def test_the_context_is_a_threshold_by_itself(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    first = client.responses.create(model="scripted", input=words(2900))
    huge = {"context_management": [{"type": "compaction", "compact_threshold": 200_000}]}
    for management in (huge, {"context_management": [{"type": "compaction"}]}):
        response = client.responses.create(  # type: ignore[call-overload]  # plain dicts
            model="scripted", input=words(200), previous_response_id=first.id, **management
        )
        assert [item.type for item in response.output] == ["compaction", "message"]


def test_a_run_of_calls_is_compacted_without_parting_them(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    items: list[Any] = [{"role": "user", "content": "Look around, please."}]
    for number in range(6):
        items.append({"type": "function_call", "call_id": f"c{number}", "name": "look", "arguments": "{}"})
        items.append({"role": "assistant", "content": words(300, f"seen{number}")})
        items.append({"type": "function_call_output", "call_id": f"c{number}", "output": f"thing {number}"})
    response = client.responses.create(model="scripted", input=items, tools=[TOOL], **MANAGED)  # type: ignore[list-item]
    assert [item.type for item in response.output] == ["compaction", "message"]
    answer = engine.asked[-1]
    results = {turn.call_id for turn in answer.turns if turn.__class__.__name__ == "ToolResult"}  # type: ignore[union-attr]
    calls = {turn.call_id for turn in answer.turns if turn.__class__.__name__ == "ToolCall"}  # type: ignore[union-attr]
    assert calls == results == {"c5"}
    assert ("user", "Look around, please.") in said(answer)


def test_one_exchange_that_is_too_long_is_left_as_it_is(client: openai.OpenAI) -> None:
    response = client.responses.create(model="scripted", input=words(1500), **MANAGED)
    assert [item.type for item in response.output] == ["message"]


def test_a_trigger_compacts_now_and_answers_nothing(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    first = client.responses.create(model="scripted", input="I am Ada.")
    trigger: Any = [{"role": "user", "content": "My code is 4711."}, {"type": "compaction_trigger"}]
    response = client.responses.create(model="scripted", input=trigger, previous_response_id=first.id)
    check_response(json.loads(response.to_json()))
    assert [item.type for item in response.output] == ["compaction"]
    assert response.status == "completed"
    assert len(list(client.responses.input_items.list(response.id))) == 1
    client.responses.create(model="scripted", input="Who am I?", previous_response_id=response.id)
    texts = [text for _, text in said(engine.asked[-1])]
    assert len(texts) == 2
    assert SUMMARY in texts[0]


def test_bad_management(served: Serving) -> None:
    ask = {"model": "scripted", "input": "a"}
    few = {**ask, "context_management": [{"type": "compaction", "compact_threshold": 999}]}
    assert refused(served, "/responses", few)[0::2] == (400, "context_management[0].compact_threshold")
    odd = {**ask, "context_management": [{"type": "amnesia"}]}
    assert refused(served, "/responses", odd) == (400, "unsupported_value", "context_management[0].type")
    early = {**ask, "input": [{"type": "compaction_trigger"}, {"role": "user", "content": "a"}]}
    assert refused(served, "/responses", early) == (400, "invalid_value", "input[0].type")
    alone = {**ask, "input": [{"type": "compaction_trigger"}]}
    assert refused(served, "/responses", alone) == (400, "invalid_value", "input")


def test_in_the_background(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    first = client.responses.create(model="scripted", input=words(900))
    ask: dict[str, Any] = {"model": "scripted", "input": words(200), "previous_response_id": first.id}
    bodies = [
        json.loads(event.to_json()) for event in client.responses.create(**ask, **MANAGED, background=True, stream=True)
    ]
    check_sequence(bodies)
    stored = client.responses.retrieve(bodies[-1]["response"]["id"])
    assert [item.type for item in stored.output] == ["compaction", "message"]


def test_in_a_conversation(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    held = client.conversations.create(items=[{"type": "message", "role": "user", "content": words(900)}])
    ask: dict[str, Any] = {"model": "scripted", "input": f"Who am I? {words(200)}", "conversation": held.id}
    assert client.responses.input_tokens.count(**ask).input_tokens == 900 + 3 + 200
    response = client.responses.create(**ask, **MANAGED)
    assert [item.type for item in response.output] == ["compaction", "message"]
    kinds = [item.type for item in client.conversations.items.list(held.id, order="asc")]
    assert kinds == ["message", "message", "compaction", "message"]
    client.responses.create(model="scripted", input="Sure?", conversation=held.id)
    texts = [text for _, text in said(engine.asked[-1])]
    assert SUMMARY in texts[0]
    assert [text[:9] for text in texts[1:]] == ["Who am I?", "Fine.", "Sure?"]


def test_a_compaction_survives_a_crash_and_is_not_made_twice(tmp_path: Path) -> None:
    """The server is gone after the item and before the answer: the next one goes on from the item."""

    held = asyncio.Event()

    def holding(generation: Generation) -> list[Step]:
        return script(generation) if is_summary(generation) or "hold" not in said(generation)[-1][1] else [held]

    options: dict[str, Any] = {"capabilities": Capabilities(context_tokens=4000, continues=True)}
    with serving(ScriptedEngine(holding, **options), tmp_path) as server:
        first = server.client().responses.create(model="scripted", input=words(900))
        ask: dict[str, Any] = {"model": "scripted", "input": f"hold {words(200)}", "previous_response_id": first.id}
        seen: list[str] = []
        with server.client().responses.create(**ask, **MANAGED, background=True, stream=True) as stream:
            for event in stream:
                seen.append(event.type)
                if event.type == "response.created":
                    response_id = event.response.id
                if event.type == "response.output_item.done":
                    break
    again = ScriptedEngine(script, **options)
    with serving(again, tmp_path) as server:
        bodies = [json.loads(e.to_json()) for e in server.client().responses.retrieve(response_id, stream=True)]
        check_sequence(bodies)
        assert [body["type"] for body in bodies][: len(seen)] == seen
        assert [item["type"] for item in bodies[-1]["response"]["output"]] == ["compaction", "message"]
        assert not any(is_summary(generation) for generation in again.asked)
        assert SUMMARY in said(again.asked[-1])[0][1]


# --- truncation -------------------------------------------------------------------------------------------------------
def test_truncation_drops_the_oldest_and_keeps_orders(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    items: list[Any] = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": words(3000, "old")},
        {"role": "assistant", "content": words(500, "older")},
        {"role": "user", "content": "New question."},
    ]
    client.responses.create(model="scripted", input=items, truncation="auto")
    assert said(engine.asked[-1]) == [("developer", "Be brief."), ("user", "New question.")]
    # What is counted is what would be shown.
    counted = client.responses.input_tokens.count(model="scripted", input=items, truncation="auto")
    assert counted.input_tokens == 4
    assert client.responses.input_tokens.count(model="scripted", input=items).input_tokens == 3504


def test_truncation_drops_the_oldest_calls_of_the_last_exchange(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    items: list[Any] = [{"role": "user", "content": "Look."}]
    for number in range(5):
        items.append({"type": "function_call", "call_id": f"c{number}", "name": "look", "arguments": "{}"})
        items.append({"type": "function_call_output", "call_id": f"c{number}", "output": "thing"})
        items.append({"role": "assistant", "content": words(1000)})
    client.responses.create(model="scripted", input=items, tools=[TOOL], truncation="auto")  # type: ignore[list-item]
    answer = engine.asked[-1]
    kinds = [turn.__class__.__name__ for turn in answer.turns]
    assert kinds == ["Message", *["ToolCall", "ToolResult", "Message"] * 2]
    assert said(answer)[0] == ("user", "Look.")


# --- ends before its end ----------------------------------------------------------------------------------------------
def full(generation: Generation) -> None:
    raise Overloaded("The queue is full.")


def test_a_full_queue_refuses_a_compaction_before_a_stream_begins(tmp_path: Path) -> None:
    with serving(ScriptedEngine(script, admit=full), tmp_path) as server:
        body = {"model": "scripted", "input": [{"role": "user", "content": "a"}, {"type": "compaction_trigger"}]}
        for path, ask in (("/responses", {**body, "stream": True}), ("/responses", body), ("/responses/compact", body)):
            assert refused(server, path, ask) == (503, "server_is_overloaded", None)


def test_who_hangs_up_or_cancels_ends_the_summary(tmp_path: Path) -> None:
    held = asyncio.Event()
    engine = ScriptedEngine(lambda _: [held])
    body: dict[str, Any] = {
        "model": "scripted",
        "input": [{"role": "user", "content": "a"}, {"type": "compaction_trigger"}],
    }
    with serving(engine, tmp_path) as server:
        client = server.client()
        with client.responses.create(**body, stream=True) as stream:
            begun = [next(stream).type for _ in range(2)]
        assert begun == ["response.created", "response.in_progress"]
        wait_for(lambda: engine.closed == 1, 10)
        with pytest.raises(openai.APITimeoutError):
            client.with_options(timeout=0.3).responses.compact(model="scripted", input="a")
        wait_for(lambda: engine.closed == 2, 10)
        queued = client.responses.create(**body, background=True)
        wait_for(lambda: len(engine.asked) == 3, 10)
        assert client.responses.cancel(queued.id).status == "cancelled"
        wait_for(lambda: engine.closed >= 3, 10)
