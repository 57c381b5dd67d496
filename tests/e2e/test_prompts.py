"""Prompts over a real socket: made, versioned, published, and used by the official SDK."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from openai import OpenAI

from antiphon.engines.scripted import ScriptedEngine
from antiphon.ports import Capabilities
from antiphon.protocol.generation import Generation, ImagePart, Message
from conformance.spec import check_error, check_response, check_response_event
from support.serving import Serving, other_project, serving

Body = dict[str, Any]
_numbers = itertools.count()
GOOD: Body = {"name": "a", "instructions": "x"}


class Api:
    """The server, its engine, and plain HTTP."""

    def __init__(self, served: Serving, engine: ScriptedEngine) -> None:
        self.served = served
        self.engine = engine
        self.http = httpx2.Client(base_url=served.url, headers=served.headers, timeout=30)

    def ask(self, method: str, path: str, body: object = None, *, status: int = 200) -> Body:
        answer = self.http.request(method, f"/v1{path}", json=body)
        assert answer.status_code == status, answer.text
        found: Body = answer.json()
        return found

    def refused(self, method: str, path: str, body: object = None) -> tuple[int, str | None, str | None]:
        answer = self.http.request(method, f"/v1{path}", json=body)
        check_error(answer.json())
        error = answer.json()["error"]
        return answer.status_code, error["code"], error["param"]

    def make(self, **body: Any) -> str:
        made: str = self.ask("POST", "/prompts", {"name": "greeter", **body})["id"]
        return made

    def respond(self, prompt: Body, **body: Any) -> Body:
        response = self.ask("POST", "/responses", {"prompt": prompt, "model": "gpt-5-mini", **body})
        check_response(response)
        return response

    def shown(self) -> list[tuple[str, str]]:
        """The conversation that the engine was last shown."""
        return [(turn.role, turn.text) for turn in self.asked().turns if isinstance(turn, Message)]

    def asked(self) -> Generation:
        return self.engine.asked[-1]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    engine = ScriptedEngine(capabilities=Capabilities(context_tokens=1_000_000, images=True))
    with serving(engine, tmp_path_factory.mktemp("prompts")) as served:
        api = Api(served, engine)
        with api.http:
            yield api


@pytest.fixture
def sdk(api: Api) -> OpenAI:
    return api.served.client()


# --- in a request -----------------------------------------------------------------------------------------------------
def test_the_sdk_uses_a_prompt(api: Api, sdk: OpenAI) -> None:
    prompt = api.make(
        instructions="You greet {{ name }} in {{style}}.",
        variables={"style": {"default": "rhymes"}},
        defaults={"model": "gpt-5-mini", "temperature": 0.25, "metadata": {"from": "prompt"}},
    )
    response = sdk.responses.create(prompt={"id": prompt, "variables": {"name": "Ada"}}, input="hello", temperature=0.5)
    assert response.output_text == "hello"
    assert api.shown() == [("system", "You greet Ada in rhymes."), ("user", "hello")]
    assert response.instructions == "You greet Ada in rhymes."
    assert response.prompt is not None
    assert (response.prompt.id, response.prompt.version) == (prompt, "1")
    assert response.prompt.variables == {"name": "Ada"}
    assert (response.temperature, response.metadata) == (0.5, {"from": "prompt"})
    assert sdk.responses.retrieve(response.id) == response
    check_response(api.ask("GET", f"/responses/{response.id}"))


def test_messages_go_before_the_conversation_and_input_may_be_left_out(api: Api) -> None:
    prompt = api.make(
        instructions="Be {{mood}}.",
        messages=[
            {"role": "user", "content": "Greet {{name}}"},
            {"role": "assistant", "content": "Hello {{name}}!"},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "And in {{mood}} words?"}]},
        ],
    )
    response = api.respond({"id": prompt, "variables": {"mood": "kind", "name": "{{mood}} {% raw %}"}})
    shown = [
        ("developer", "Be kind."),
        ("user", "Greet {{mood}} {% raw %}"),
        ("assistant", "Hello {{mood}} {% raw %}!"),
        ("user", "And in kind words?"),
    ]
    assert api.shown() == shown
    assert [item["role"] for item in response["instructions"]] == ["developer", "user", "assistant", "user"]
    # Like instructions, they are not inherited.
    api.respond({"id": api.make(instructions="Go on.")}, input="next", previous_response_id=response["id"])
    assert api.shown() == [("system", "Go on."), ("assistant", "And in kind words?"), ("user", "next")]


def test_the_requests_own_instructions_replace_those_of_the_prompt(api: Api) -> None:
    prompt = api.make(instructions="Old.", messages=[{"role": "user", "content": "kept"}])
    api.respond({"id": prompt}, instructions="New.", input="hi")
    assert api.shown() == [("developer", "New."), ("user", "kept"), ("user", "hi")]


def test_parts_as_variables(api: Api) -> None:
    prompt = api.make(messages=[{"role": "user", "content": "Before {{photo}} after {{note}}."}])
    photo = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    response = api.respond(
        {"id": prompt, "variables": {"photo": photo, "note": {"type": "input_text", "text": "this"}}}
    )
    message = api.asked().turns[0]
    assert isinstance(message, Message)
    assert [getattr(part, "text", "image") for part in message.parts] == ["Before ", "image", " after ", "this", "."]
    assert isinstance(message.parts[1], ImagePart)
    assert response["prompt"]["variables"]["photo"]["detail"] == "auto"
    text_only = api.make(instructions="Look at {{photo}}.")
    body = {"model": "gpt-5-mini", "input": "x", "prompt": {"id": text_only, "variables": {"photo": photo}}}
    assert api.refused("POST", "/responses", body) == (400, "invalid_type", "prompt.variables.photo")


def test_a_stream_shows_the_version(api: Api) -> None:
    prompt = api.make(messages=[{"role": "user", "content": "say this"}])
    body = {"model": "gpt-5-mini", "prompt": {"id": prompt}, "stream": True}
    with api.served.client().responses.create(**body) as stream:  # type: ignore[call-overload]
        events = [event.to_dict(mode="json", exclude_unset=True) for event in stream]
    for event in events:
        check_response_event(event)
    assert [event["response"]["prompt"]["version"] for event in events if "response" in event] == ["1"] * 3


def test_a_background_response_keeps_the_version_it_was_accepted_with(api: Api) -> None:
    prompt = api.make(messages=[{"role": "user", "content": "first"}])
    queued = api.respond({"id": prompt}, background=True)
    assert queued["prompt"]["version"] == "1"
    api.ask("POST", f"/prompts/{prompt}/versions", {"instructions": "second", "publish": True})
    ended = queued
    while ended["status"] in ("queued", "in_progress"):
        ended = api.ask("GET", f"/responses/{queued['id']}")
    assert ended["output"][0]["content"][0]["text"] == "first"
    assert ended["prompt"]["version"] == "1"
    assert api.respond({"id": prompt}, input="x")["prompt"]["version"] == "2"


@pytest.mark.parametrize(
    ("prompt", "error"),
    [
        ({"id": "pmpt_unknown"}, (404, "prompt_not_found", "prompt.id")),
        ({"id": "pmpt_\u0000b"}, (404, "prompt_not_found", "prompt.id")),
        ({"id": "a\u0000b"}, (400, "invalid_value", "prompt.id")),
        ({"id": "THIS", "version": "9"}, (404, "prompt_version_not_found", "prompt.version")),
        ({"id": "THIS", "version": "01"}, (404, "prompt_version_not_found", "prompt.version")),
        ({"id": "THIS", "version": ""}, (404, "prompt_version_not_found", "prompt.version")),
        ({"id": "THIS", "version": "9" * 40}, (404, "prompt_version_not_found", "prompt.version")),
        ({"id": "THIS", "version": 1}, (400, "invalid_type", "prompt.version")),
        ({"id": "THIS"}, (400, "missing_required_parameter", "prompt.variables.name")),
        ({"id": "THIS", "variables": {"name": "a", "nam": "b"}}, (400, "unknown_parameter", "prompt.variables.nam")),
        ({"id": "THIS", "variables": {"name": 1}}, (400, "invalid_type", "prompt.variables.name")),
        ({}, (400, "missing_required_parameter", "prompt.id")),
    ],
)
def test_bad_prompts_of_requests(api: Api, prompt: Body, error: tuple[int, str, str]) -> None:
    made = api.make(instructions="Greet {{name}}.")
    if prompt.get("id") == "THIS":
        prompt = {**prompt, "id": made}
    asked = len(api.engine.asked)
    assert api.refused("POST", "/responses", {"model": "gpt-5-mini", "input": "x", "prompt": prompt}) == error
    assert len(api.engine.asked) == asked


def test_tokens_are_counted_with_the_prompt(api: Api) -> None:
    made = api.make(instructions="Greet {{name}} with very many words, please.")
    asked = {"model": "gpt-5-mini", "input": "x", "prompt": {"id": made, "variables": {"name": "Ann"}}}
    counted = api.ask("POST", "/responses/input_tokens", asked)["input_tokens"]
    assert counted > api.ask("POST", "/responses/input_tokens", {"model": "gpt-5-mini", "input": "x"})["input_tokens"]
    for prompt in ({"id": "pmpt_unknown"}, {"id": made}, {"id": made, "version": "9"}, {"id": "abc"}):
        body = {"model": "gpt-5-mini", "input": "x", "prompt": prompt}
        assert api.refused("POST", "/responses/input_tokens", body) == api.refused("POST", "/responses", body)


def test_a_small_request_cannot_become_a_huge_one(api: Api) -> None:
    prompt = api.make(instructions="{{x}}" * 10_000)
    body = {"model": "gpt-5-mini", "input": "x", "prompt": {"id": prompt, "variables": {"x": "y" * 10_000}}}
    assert api.refused("POST", "/responses", body) == (400, "prompt_too_large", "prompt.variables")


def test_input_is_needed_unless_the_prompt_has_messages(api: Api) -> None:
    prompt = api.make(instructions="x")
    body = {"model": "gpt-5-mini", "prompt": {"id": prompt}}
    assert api.refused("POST", "/responses", body) == (400, "missing_required_parameter", "input")


# --- the objects ------------------------------------------------------------------------------------------------------
def test_versions_publishing_and_rolling_back(api: Api) -> None:
    made = api.ask("POST", "/prompts", {"name": "n", "instructions": "one", "publish": False})
    assert made == {
        "id": made["id"],
        "object": "prompt",
        "created_at": made["created_at"],
        "name": "n",
        "published_version": None,
        "latest_version": "1",
    }
    prompt = made["id"]
    body = {"model": "gpt-5-mini", "input": "x", "prompt": {"id": prompt}}
    assert api.refused("POST", "/responses", body) == (400, "prompt_not_published", "prompt.version")
    assert api.respond({"id": prompt, "version": "1"}, input="x")["prompt"]["version"] == "1"
    version = api.ask("POST", f"/prompts/{prompt}/versions", {"instructions": "two {{x}}", "defaults": {"top_p": 0.5}})
    assert version == {
        "object": "prompt.version",
        "prompt_id": prompt,
        "version": "2",
        "created_at": version["created_at"],
        "instructions": "two {{x}}",
        "messages": [],
        "variables": {"x": {}},
        "defaults": {"top_p": 0.5},
    }
    assert api.ask("GET", f"/prompts/{prompt}/versions/2") == version
    assert api.ask("POST", f"/prompts/{prompt}/versions/2/publish")["published_version"] == "2"
    assert api.ask("POST", f"/prompts/{prompt}/versions/1/publish")["published_version"] == "1"
    assert api.respond({"id": prompt}, input="x")["instructions"] == "one"
    assert api.ask("POST", f"/prompts/{prompt}", {"name": "m"})["name"] == "m"
    page = api.ask("GET", f"/prompts/{prompt}/versions?limit=1")
    assert ([found["version"] for found in page["data"]], page["has_more"], page["last_id"]) == (["2"], True, "2")
    page = api.ask("GET", f"/prompts/{prompt}/versions?after=2")
    assert ([found["version"] for found in page["data"]], page["has_more"]) == (["1"], False)
    assert api.ask("DELETE", f"/prompts/{prompt}") == {"id": prompt, "object": "prompt.deleted", "deleted": True}
    assert api.refused("GET", f"/prompts/{prompt}") == (404, "prompt_not_found", "prompt_id")
    assert api.refused("GET", f"/prompts/{prompt}/versions/1") == (404, "prompt_not_found", "prompt_id")


def test_lists(api: Api) -> None:
    mine = [api.make(instructions="x") for _ in range(3)]
    page = api.ask("GET", "/prompts?limit=2")
    assert ([found["id"] for found in page["data"]], page["has_more"]) == ([mine[2], mine[1]], True)
    page = api.ask("GET", f"/prompts?limit=1&after={page['last_id']}")
    assert [found["id"] for found in page["data"]] == [mine[0]]
    assert api.refused("GET", "/prompts?after=pmpt_x") == (404, None, "after")
    assert api.refused("GET", "/prompts?limit=0") == (400, "integer_below_min_value", "limit")
    assert api.refused("GET", f"/prompts/{mine[0]}/versions?after=7") == (404, "prompt_version_not_found", "after")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, ("missing_required_parameter", "name")),
        ([], ("invalid_type", None)),
        ({"name": 1, "instructions": "x"}, ("invalid_type", "name")),
        ({"name": "a\nb", "instructions": "x"}, ("invalid_value", "name")),
        ({"name": "a"}, ("missing_required_parameter", "instructions")),
        ({"name": "a", "instructions": "x", "model": "m"}, ("unknown_parameter", "model")),
        ({"name": "a", "messages": [{"role": "tool", "content": "x"}]}, ("invalid_value", "messages[0].role")),
        ({"name": "a", "messages": [{"role": "user"}]}, ("missing_required_parameter", "messages[0].content")),
        ({"name": "a", "instructions": "x", "variables": {"a b": {}}}, ("invalid_value", "variables.a b")),
        ({"name": "a", "instructions": "x", "variables": {"a": {"x": 1}}}, ("unknown_parameter", "variables.a.x")),
        ({**GOOD, "defaults": {"temperature": 3}}, ("decimal_above_max_value", "defaults.temperature")),
        ({**GOOD, "defaults": {"store": True}}, ("unknown_parameter", "defaults.store")),
        ({**GOOD, "defaults": {"tool_choice": {"type": "function", "name": "f"}}}, (None, "defaults.tool_choice")),
        ({"name": "a", "instructions": "x" * 1_100_000}, ("prompt_too_large", None)),
    ],
)  # fmt: skip
def test_bad_prompts(api: Api, body: object, error: tuple[str | None, str | None]) -> None:
    status, code, param = api.refused("POST", "/prompts", body)
    assert status == 400
    assert param == error[1]
    assert error[0] in (code, None)


def test_another_projects_prompts_are_unknown(api: Api) -> None:
    prompt = api.make(instructions="x")
    foreign = {"Authorization": f"Bearer {other_project(api.served, f'other {next(_numbers)}')}"}
    body = {"model": "gpt-5-mini", "input": "x", "prompt": {"id": prompt}}
    for method, path, sent in [
        ("GET", f"/prompts/{prompt}", None),
        ("POST", f"/prompts/{prompt}", {"name": "mine"}),
        ("DELETE", f"/prompts/{prompt}", None),
        ("GET", f"/prompts/{prompt}/versions", None),
        ("POST", f"/prompts/{prompt}/versions", {"instructions": "x"}),
        ("GET", f"/prompts/{prompt}/versions/1", None),
        ("POST", f"/prompts/{prompt}/versions/1/publish", None),
        ("POST", "/responses", body),
    ]:
        answer = api.http.request(method, f"/v1{path}", json=sent, headers=foreign)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "prompt_not_found"), (method, path)
    assert api.http.get("/v1/prompts", headers=foreign).json()["data"] == []
    assert api.ask("GET", f"/prompts/{prompt}")["name"] == "greeter"
