"""What a template becomes: texts, parts, defaults, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.domain.errors import InvalidRequest
from antiphon.protocol import prompts

Json = dict[str, Any]
IMAGE = {"type": "input_image", "image_url": "https://x/y.png", "detail": "low"}


def template(**members: Any) -> Json:
    return prompts.template(prompts.check_members(members))


def resolve(content: Json, variables: Json | None = None, **body: Any) -> Json:
    return prompts.resolve({**body, "prompt": {"id": "pmpt_1", "variables": variables}}, content, 3)


@given(st.text(), st.text())
def test_values_are_never_looked_at_again(first: str, second: str) -> None:
    content = template(instructions="<{{a}}|{{ b }}|{{a}}>")
    resolved = resolve(content, {"a": first, "b": second}, input="x")
    assert resolved["instructions"] == f"<{first}|{second}|{first}>"


@pytest.mark.parametrize("text", ["{{}}", "{{1a}}", "{{a b}}", "{ {a}}", "{{a}", "{{{{", "{% a %}", "{{a.b}}", "{{é}}"])
def test_what_is_no_variable_stays(text: str) -> None:
    content = template(instructions=text)
    assert content["variables"] == {}
    assert resolve(content)["instructions"] == text


def test_a_variable_that_is_used_is_declared() -> None:
    content = template(
        instructions="{{a}}",
        messages=[{"role": "user", "content": [{"type": "input_text", "text": "{{b}}"}]}],
        variables={"c": {"default": "d"}, "a": {"description": "what"}},
    )
    assert content["variables"] == {"c": {"default": "d"}, "a": {"description": "what"}, "b": {}}


def test_parts_are_cut_out_of_a_users_text() -> None:
    content = template(messages=[{"role": "user", "content": "{{p}}{{t}}b{{p}}"}])
    [message] = resolve(content, {"p": IMAGE, "t": "a"})["instructions"]
    assert message["content"] == [IMAGE, {"type": "input_text", "text": "ab"}, IMAGE]
    [message] = resolve(content, {"p": "", "t": ""})["instructions"]
    assert message["content"] == [{"type": "input_text", "text": "b"}]


def test_a_breakpoint_of_a_text_part_stays() -> None:
    part = {"type": "input_text", "text": "see {{p}}", "prompt_cache_breakpoint": {"mode": "explicit"}}
    content = template(messages=[{"role": "user", "content": [part]}])
    [message] = resolve(content, {"p": "x"})["instructions"]
    assert message["content"] == [{**part, "text": "see x"}]


def test_the_request_goes_first_and_null_says_nothing() -> None:
    content = template(instructions="i", defaults={"temperature": 0.1, "top_p": 0.5, "metadata": {"a": "1"}})
    resolved = resolve(content, None, input="x", temperature=0, top_p=None, metadata={}, instructions=None)
    assert (resolved["temperature"], resolved["top_p"], resolved["metadata"]) == (0, 0.5, {})
    assert resolved["instructions"] == "i"
    assert resolved["prompt"] == {"id": "pmpt_1", "version": "3", "variables": {}}


def test_resolving_changes_neither_request_nor_template() -> None:
    content = template(instructions="{{a}}", messages=[{"role": "user", "content": "{{a}}"}], defaults={"top_p": 1})
    before = repr(content)
    body = {"input": "x", "prompt": {"id": "pmpt_1", "variables": {"a": "b"}}}
    prompts.resolve(body, content, 1)
    assert repr(content) == before
    assert body == {"input": "x", "prompt": {"id": "pmpt_1", "variables": {"a": "b"}}}


@pytest.mark.parametrize("role", ["system", "developer", "assistant"])
def test_only_a_users_message_shows_images(role: str) -> None:
    content = template(messages=[{"role": role, "content": "{{p}}"}])
    with pytest.raises(InvalidRequest) as refused:
        resolve(content, {"p": IMAGE})
    assert refused.value.param == "prompt.variables.p"


def test_a_refused_default_is_named_where_it_stands() -> None:
    tool = {"type": "function", "name": "f", "parameters": {}, "strict": False}
    with pytest.raises(InvalidRequest) as refused:
        template(instructions="x", defaults={"tools": [tool, tool]})
    assert (refused.value.param or "").startswith("defaults.tools")
