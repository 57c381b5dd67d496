"""Fields that the published API does not have: on their way to a server that may know them, and refused elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from antiphon.domain.routing import RouteSpec, TargetSpec, UpstreamSpec
from antiphon.engines.scripted import ScriptedEngine
from antiphon.protocol.generation import Delta, Finish, Generation, ReasoningTurn, TextDelta, Usage
from support.serving import Serving, serving
from support.upstreams import ChatUpstream, chat_upstream, completed

Json = dict[str, Any]

PROFILES = ("openai", "generic", "vllm", "deepseek", "openrouter", "mistral", "groq")
#: No promise of these profiles is enough for a call of a tool, so that requests with tools are translated.
TRANSLATED = ("generic", "vllm", "deepseek", "openrouter")
TOOL: Json = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
CALL: Json = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLED: list[Json] = [
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "5"},
]
DONE: list[Delta] = [TextDelta("ok"), Finish("stop", Usage(input_tokens=1, output_tokens=1))]


class Place:
    """A server with a scripted local model and routes over one upstream, and what both were asked."""

    def __init__(self, served: Serving, upstream: ChatUpstream, asked: list[Generation]) -> None:
        self.served = served
        self.upstream = upstream
        self.asked = asked

    def post(self, path: str, body: Json) -> httpx2.Response:
        self.asked.clear()
        self.upstream.asked.clear()
        return httpx2.post(f"{self.served.base_url}{path}", json=body, headers=self.served.headers, timeout=30)

    def chat(self, model: str, messages: list[Json], **more: Any) -> Json:
        """The body that reached the upstream."""
        answer = self.post("/chat/completions", {"model": model, "messages": messages, **more})
        assert answer.status_code == 200, answer.text
        return self.upstream.last

    def responses(self, model: str, given: list[Json], **more: Any) -> Json:
        answer = self.post("/responses", {"model": model, "input": given, **more})
        assert answer.status_code == 200, answer.text
        return self.upstream.last

    def refused(self, path: str, body: Json) -> Json:
        answer = self.post(path, {"model": "scripted", **body})
        assert answer.status_code == 400, answer.text
        error: Json = answer.json()["error"]
        return error


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    asked: list[Generation] = []
    engine = ScriptedEngine(lambda _: DONE, admit=asked.append)
    with chat_upstream(lambda _: completed({"role": "assistant", "content": "ok"})) as upstream:
        upstreams = {name: UpstreamSpec(name=name, kind="chat", url=upstream.url, profile=name) for name in PROFILES}
        routes = {name: RouteSpec(name=name, targets=(TargetSpec(upstream=name, model="m"),)) for name in PROFILES}
        path = tmp_path_factory.mktemp("unknown")
        with serving(engine, path, upstreams=upstreams, routes=routes) as served:
            yield Place(served, upstream, asked)


#: One message with a member, part or call that the published API does not have, and where it stands.
MESSAGES: list[tuple[list[Json], str]] = [
    ([{"role": "user", "content": "hi", "weight": 1}], "messages[0].weight"),
    ([{"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]}],
     "messages[0].content[0].cache_control"),
    ([CALLED[0], {**CALLED[1], "tool_calls": [{**CALL, "extra_content": {"google": {"thought_signature": "s"}}}]},
      CALLED[2]], "messages[1].tool_calls[0].extra_content"),
    ([*CALLED[:2], {**CALLED[2], "is_error": True}], "messages[2].is_error"),
    ([CALLED[0], {"role": "assistant", "content": "a", "prefix": True}], "messages[1].prefix"),
]  # fmt: skip
KNOWN = pytest.mark.parametrize(("messages", "param"), MESSAGES, ids=[param for _, param in MESSAGES])


@KNOWN
@pytest.mark.parametrize("profile", ["openai", *TRANSLATED])
def test_members_of_messages_reach_the_upstream(place: Place, profile: str, messages: list[Json], param: str) -> None:
    assert place.chat(profile, messages)["messages"] == messages


@KNOWN
@pytest.mark.parametrize("profile", TRANSLATED)
def test_they_survive_translation(place: Place, profile: str, messages: list[Json], param: str) -> None:
    sent = place.chat(profile, messages, tools=[{**TOOL, "cache_control": {"type": "ephemeral"}}])
    *path, name = param.replace("[", ".").replace("]", "").split(".")
    found: Any = sent
    for step in path:
        found = found[int(step)] if step.isdigit() else found[step]
    assert name in found
    assert sent["tools"][0]["cache_control"] == {"type": "ephemeral"}


@KNOWN
def test_the_local_model_refuses_them_by_name(place: Place, messages: list[Json], param: str) -> None:
    error = place.refused("/chat/completions", {"messages": messages})
    assert (error["param"], error["code"]) == (param, "unknown_parameter")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "x"}}]}]},
         "messages[0].content[0].type"),
        ({"tools": [TOOL, {"type": "builtin_function", "function": {"name": "$web_search"}}]}, "tools[1].type"),
        ({"response_format": {"type": "grammar", "grammar": "x"}}, "response_format.type"),
        ({"tools": [TOOL], "tool_choice": {"type": "any"}}, "tool_choice.type"),
    ],
)  # fmt: skip
def test_types_that_are_not_known_pass_and_are_refused_here(place: Place, body: Json, param: str) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], **body}
    sent = place.chat("generic", **body)
    assert {name: sent[name] for name in body} == body
    assert place.refused("/chat/completions", body)["param"] == param


def test_options_of_streams_pass(place: Place) -> None:
    options = {"continuous_usage_stats": True}
    body: Json = {"model": "vllm", "messages": CALLED, "stream": True, "stream_options": options}
    place.post("/chat/completions", body)
    assert place.upstream.last["stream_options"] == {**options, "include_usage": True}


#: What clients send back as it came, or send with every message, and OpenAI passes over.
IGNORED: list[Json] = [
    {"reasoning_content": "hm"},
    {"reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]},
    {"annotations": [], "refusal": None, "audio": None, "function_call": None},
    {"index": 0, "logprobs": None, "status": "completed", "id": None, "parsed": {"a": 1}},
    {"tool_calls": None},
    {"tool_calls": [{**CALL, "index": 0}]},
]


@pytest.mark.parametrize("members", IGNORED)
def test_what_says_nothing_to_a_model_is_taken(place: Place, members: Json) -> None:
    answer = {"role": "assistant", "content": "a", "tool_calls": [CALL], **members}
    results = [{**CALLED[2], "name": "f"}] if answer["tool_calls"] else []
    body = {"model": "scripted", "messages": [CALLED[0], answer, *results, {"role": "user", "content": "go on"}]}
    answered = place.post("/chat/completions", body)
    assert answered.status_code == 200, answered.text
    thoughts = [turn.text for turn in place.asked[0].turns if isinstance(turn, ReasoningTurn)]
    assert thoughts == (["hm"] if {"reasoning", "reasoning_content"} & members.keys() else [])


@pytest.mark.parametrize("profile", ["mistral", "groq"])
def test_a_strict_server_does_not_get_what_an_answer_was_dressed_with(place: Place, profile: str) -> None:
    answer = {"role": "assistant", "content": "a", "annotations": [], "refusal": None, "reasoning_content": "hm"}
    sent = place.chat(profile, [CALLED[0], answer, CALLED[0]])
    assert sent["messages"][1] == {"role": "assistant", "content": "a"}


@pytest.mark.parametrize(
    ("profile", "taken"),
    [("openai", {"user", "safety_identifier", "verbosity"}), ("vllm", {"user"}), ("openrouter", {"user", "verbosity"}),
     ("mistral", set()), ("groq", {"user"})],
)  # fmt: skip
def test_who_asks_and_how_reaches_servers_that_take_it(place: Place, profile: str, taken: set[str]) -> None:
    given: Json = {"user": "u", "safety_identifier": "s"}
    sent = place.responses(profile, [{"role": "user", "content": "hi"}], text={"verbosity": "low"}, **given)
    assert {*given, "verbosity"} & sent.keys() == taken
    told = any("briefly" in str(message["content"]) for message in sent["messages"])
    assert told == ("verbosity" not in taken)


def test_members_of_items_go_where_they_can(place: Place) -> None:
    part = {"type": "input_text", "text": "hi", "cache_control": {"type": "ephemeral"}}
    given: list[Json] = [
        {"role": "user", "content": [part], "weight": 1},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "extra_content": {"a": 1}},
        {"type": "function_call_output", "call_id": "c", "output": "5"},
    ]
    sent = place.responses("generic", given)["messages"]
    assert sent[0] == {"role": "user", "weight": 1, "content": [{**part, "type": "text"}]}
    assert sent[1]["tool_calls"][0]["extra_content"] == {"a": 1}
    assert place.refused("/responses", {"input": given})["param"] == "input[0].content[0].cache_control"


# --- how tokens are drawn ---------------------------------------------------------------------------------------------
KNOBS: Json = {"top_k": 40, "min_p": 0.1, "typical_p": 0.9, "repetition_penalty": 1.1}


@pytest.mark.parametrize("path", ["/chat/completions", "/responses"])
def test_the_local_model_takes_what_llama_cpp_can_do(place: Place, path: str) -> None:
    given: Json = {"input": "hi"} if path == "/responses" else {"messages": [CALLED[0]]}
    more: Json = {**KNOBS, "chat_template_kwargs": {"enable_thinking": False}, "seed": 7}
    answer = place.post(path, {"model": "scripted", **given, **more})
    assert answer.status_code == 200, answer.text
    (asked,) = place.asked
    assert {name: getattr(asked.sampling, name) for name in (*KNOBS, "seed")} == {**KNOBS, "seed": 7}
    assert asked.template == {"enable_thinking": False}
    assert place.post(path, {"model": "scripted", **given, "repeat_penalty": 1.2, "top_k": -1}).status_code == 200
    assert (place.asked[0].sampling.repetition_penalty, place.asked[0].sampling.top_k) == (1.2, 0)


@pytest.mark.parametrize(
    ("member", "code"),
    [
        ({"top_k": "many"}, "invalid_type"),
        ({"top_k": 2.5}, "invalid_type"),
        ({"top_k": 10**12}, "integer_above_max_value"),
        ({"min_p": 2}, "decimal_above_max_value"),
        ({"typical_p": -1}, "decimal_below_min_value"),
        ({"repetition_penalty": 0}, "decimal_below_min_value"),
        ({"chat_template_kwargs": [1]}, "invalid_type"),
        ({"top_q": 1}, "unknown_parameter"),
    ],
)
@pytest.mark.parametrize("path", ["/chat/completions", "/responses"])
def test_they_are_checked(place: Place, path: str, member: Json, code: str) -> None:
    given: Json = {"input": "hi"} if path == "/responses" else {"messages": [CALLED[0]]}
    error = place.refused(path, {**given, **member})
    assert (error["param"], error["code"]) == (next(iter(member)), code)


def test_an_upstream_gets_them_as_they_were_sent(place: Place) -> None:
    sent = place.chat("vllm", CALLED, **KNOBS, top_q=[1])
    assert {name: sent[name] for name in (*KNOBS, "top_q")} == {**KNOBS, "top_q": [1]}
    assert place.chat("vllm", CALLED, top_k="all")["top_k"] == "all"
