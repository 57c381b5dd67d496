"""Generated hostile bodies: thousands of them, over every endpoint that takes one."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.examples import examples
from support.rawhttp import Closed, Wire

from . import mutations, valid
from .judge import judge, judge_refusal

BODIES = {
    "response": (valid.RESPONSES_PATH, valid.RESPONSE),
    "small response": (valid.RESPONSES_PATH, valid.SMALL_RESPONSE),
    "stored response": (valid.RESPONSES_PATH, valid.STORED_RESPONSE),
    "managed response": (valid.RESPONSES_PATH, valid.MANAGED_RESPONSE),
    "items of every type": (valid.RESPONSES_PATH, valid.AGENT_RESPONSE),
    "tools of every type": (valid.RESPONSES_PATH, valid.AGENT_TOOLS),
    "count": (valid.COUNT_PATH, valid.COUNT),
    "compact": (valid.COMPACT_PATH, valid.COMPACT),
    "chat": (valid.CHAT_PATH, valid.CHAT),
    "legacy chat": (valid.CHAT_PATH, valid.LEGACY_CHAT),
    "stored chat": (valid.CHAT_PATH, valid.STORED_CHAT),
}


def check_all(wire: Wire, path: str, bodies: Iterable[tuple[str, bytes]]) -> list[int]:
    """Ask with every body and judge the answers; returns their statuses."""
    wrong = []
    statuses = []
    for what, body in bodies:
        try:
            answer = wire.ask("POST", path, body)
            statuses.append(answer.status)
            judge(answer)
        except (AssertionError, ValueError, KeyError, Closed, OSError) as error:
            wrong.append(f"{what}: {error!r}")
    assert not wrong, "\n".join(wrong)
    return statuses


@pytest.fixture(scope="module")
def stored_completion(connection: Wire) -> str:
    answer = connection.ask("POST", valid.CHAT_PATH, valid.STORED_CHAT)
    return f"{valid.CHAT_PATH}/{answer.json()['id']}"


@pytest.mark.parametrize("name", BODIES)
def test_the_bodies_to_start_from_are_valid(wire: Wire, name: str) -> None:
    path, body = BODIES[name]
    answer = wire.ask("POST", path, body)
    assert answer.status == 200, answer.body
    judge(answer)


@pytest.mark.parametrize("name", BODIES)
def test_each_member_replaced_removed_and_doubled(wire: Wire, name: str) -> None:
    path, body = BODIES[name]
    every = 2 if name in ("response", "chat") else 1
    statuses = check_all(wire, path, mutations.all_of(body, every=every))
    assert len(statuses) > 150
    assert {200, 400} <= set(statuses)


def test_each_member_of_an_update(wire: Wire, stored_completion: str) -> None:
    assert len(check_all(wire, stored_completion, mutations.all_of(valid.UPDATE))) > 40
    whole = [(str(value), mutations.text(value)) for value in [*mutations.COMMON, *mutations.RARE]]
    check_all(wire, stored_completion, whole)


@pytest.mark.parametrize("path", [valid.RESPONSES_PATH, valid.CHAT_PATH])
def test_bodies_that_are_no_object(wire: Wire, path: str) -> None:
    for value in [*mutations.COMMON, *mutations.RARE]:
        assert judge_refusal(wire.ask("POST", path, mutations.text(value)))["param"] in (None, "model", "a", "")


@pytest.mark.parametrize("name", ["small response", "legacy chat"])
def test_text_that_is_no_json_at_every_value(wire: Wire, name: str) -> None:
    path, body = BODIES[name]
    places = list(mutations.paths(body))
    for number, malformed in enumerate(mutations.MALFORMED):
        place = places[number % len(places)]
        answer = wire.ask("POST", path, mutations.text(mutations.replaced(body, place, mutations.Raw(malformed))))
        error = judge_refusal(answer)
        assert (answer.status, error["code"], error["param"]) == (400, "invalid_json", None), (malformed, error)


@pytest.mark.parametrize("name", ["small response", "legacy chat"])
def test_a_body_cut_off_at_every_byte(wire: Wire, name: str) -> None:
    path, body = BODIES[name]
    whole = json.dumps(body).encode()
    for end in range(1, len(whole)):
        answer = wire.ask("POST", path, whole[:end])
        assert (answer.status, judge_refusal(answer)["code"]) == (400, "invalid_json"), whole[:end]


@pytest.mark.parametrize("byte", [b"\x00", b"\xff", b"\xc0\xaf", b'"', b"\\", b"{", b"]", b",", b"\n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", ["small response", "stored chat"])
def test_a_byte_put_in_at_every_place(wire: Wire, name: str, byte: bytes) -> None:
    path, body = BODIES[name]
    whole = json.dumps(body).encode()
    places = range(0, len(whole) + 1, 1 if len(whole) < 150 else 2)
    check_all(wire, path, ((f"{byte!r} at {at}", whole[:at] + byte + whole[at:]) for at in places))


WORDS = ["type", "role", "content", "text", "id", "name", "function", "message", "user", "assistant", "input_text"]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(WORDS)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=10,
)


@st.composite
def mangled(draw: st.DrawFn) -> tuple[str, bytes]:
    """A valid body with several members changed at once."""
    path, body = BODIES[draw(st.sampled_from(sorted(BODIES)))]
    body = copy.deepcopy(body)
    for _ in range(draw(st.integers(1, 4))):
        body = _mangle(draw, body)
    return path, json.dumps(body).encode("utf-8", "surrogatepass")


def _mangle(draw: st.DrawFn, body: Any) -> Any:
    places = list(mutations.paths(body))
    if not places:
        return body
    place = draw(st.sampled_from(places))
    match draw(st.sampled_from(["replace", "remove", "swap"])):
        case "remove":
            return mutations.removed(body, place)
        case "swap":
            other = _at(body, draw(st.sampled_from(places)))
            return mutations.replaced(body, place, copy.deepcopy(other))
        case _:
            return mutations.replaced(body, place, draw(VALUES))


def _at(body: Any, place: mutations.Path) -> Any:
    for key in place:
        body = body[key]
    return body


def test_many_members_changed_at_once(wire: Wire) -> None:
    @settings(
        max_examples=examples(600),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(mangled())
    def ask(case: tuple[str, bytes]) -> None:
        path, body = case
        judge(wire.ask("POST", path, body))

    ask()


def pieces_of_json() -> Iterator[str]:
    """Text that looks like JSON, piece by piece."""
    yield from ("{", "}", "[", "]", ":", ",", '"', "\\", " ", "\n", "null", "true", "1e", "-", '"model"', '"input"')


def test_texts_that_look_like_json(wire: Wire) -> None:
    @settings(
        max_examples=examples(300),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(st.sampled_from(list(pieces_of_json())), min_size=1, max_size=30))
    def ask(pieces: list[str]) -> None:
        judge_refusal(wire.ask("POST", valid.RESPONSES_PATH, "".join(pieces).encode()))

    ask()
