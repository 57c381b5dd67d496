"""Another project's objects answer exactly as if they had never existed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from antiphon.engines.scripted import ScriptedEngine
from support.rawhttp import Answer, Wire
from support.serving import Serving, other_project, serving

RESPONSES, CHAT = "/v1/responses", "/v1/chat/completions"


@dataclass(frozen=True)
class Owned:
    """What one project has stored."""

    response: str
    given_item: str
    made_item: str
    completion: str
    message: str


@dataclass(frozen=True)
class Ask:
    """A request that names an object, as method, path and body with `{}` where the id goes."""

    kind: str
    method: str
    path: str
    body: Any = None
    #: What its owner is answered.
    status: int = 200

    def __str__(self) -> str:
        return f"{self.method} {self.path} {json.dumps(self.body) if self.body else ''}".strip()


def refer(item: str) -> dict[str, Any]:
    return {
        "model": "gpt-5-mini",
        "input": [{"type": "item_reference", "id": item}, {"role": "user", "content": "go on"}],
    }


ASKS = [
    Ask("response", "GET", RESPONSES + "/{}"),
    Ask("response", "GET", RESPONSES + "/{}?include[]=message.output_text.logprobs"),
    Ask("response", "GET", RESPONSES + "/{}/input_items"),
    Ask("response", "GET", RESPONSES + "/{}/input_items?limit=1&order=asc"),
    Ask("given_item", "GET", RESPONSES + "/@response/input_items?after={}"),
    Ask("response", "POST", RESPONSES, {"model": "gpt-5-mini", "input": "go on", "previous_response_id": "{}"}),
    Ask("response", "POST", RESPONSES,
        {"model": "gpt-5-mini", "input": "go on", "previous_response_id": "{}", "store": False, "stream": True}),
    Ask("given_item", "POST", RESPONSES, refer("{}")),
    Ask("made_item", "POST", RESPONSES, refer("{}")),
    Ask("made_item", "POST", RESPONSES, {**refer("{}"), "stream": True}),
    Ask("completion", "GET", CHAT + "/{}"),
    Ask("completion", "GET", CHAT + "/{}/messages"),
    Ask("completion", "GET", CHAT + "/{}/messages?limit=1&order=desc"),
    Ask("message", "GET", CHAT + "/@completion/messages?after={}"),
    Ask("completion", "GET", CHAT + "?after={}"),
    Ask("completion", "POST", CHAT + "/{}", {"metadata": {"taken": "over"}}),
    # Deleting comes last, as it works for the owner.
    Ask("completion", "DELETE", CHAT + "/{}"),
    Ask("response", "DELETE", RESPONSES + "/{}"),
]  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(ScriptedEngine(), tmp_path_factory.mktemp("tenancy")) as server:
        yield server


@pytest.fixture(scope="module")
def stranger_key(served: Serving) -> str:
    return other_project(served)


@pytest.fixture
def owner(served: Serving) -> Iterator[Wire]:
    with Wire(served.url, served.headers) as wire:
        yield wire


@pytest.fixture
def stranger(served: Serving, stranger_key: str) -> Iterator[Wire]:
    with Wire(served.url, {"Authorization": f"Bearer {stranger_key}"}) as wire:
        yield wire


@pytest.fixture
def owned(owner: Wire) -> Owned:
    return make(owner)


def make(wire: Wire) -> Owned:
    response = wire.ask("POST", RESPONSES, {"model": "gpt-5-mini", "input": "hello", "metadata": {"own": "er"}}).json()
    items = wire.ask("GET", f"{RESPONSES}/{response['id']}/input_items").json()["data"]
    messages = [{"role": "user", "content": "hello"}, {"role": "user", "content": "there"}]
    completion = wire.ask(
        "POST", CHAT, {"model": "gpt-5-mini", "messages": messages, "store": True, "metadata": {"own": "er"}}
    ).json()
    listed = wire.ask("GET", f"{CHAT}/{completion['id']}/messages").json()["data"]
    return Owned(response["id"], items[0]["id"], response["output"][0]["id"], completion["id"], listed[0]["id"])


def ask(wire: Wire, what: Ask, given_id: str, holder: Owned) -> Answer:
    path = what.path.replace("@response", holder.response).replace("@completion", holder.completion)
    body = None if what.body is None else json.dumps(what.body).replace("{}", given_id).encode()
    return wire.ask(what.method, path.replace("{}", given_id), body)


def unknown(real: str) -> str:
    """An id of the same form that never existed."""
    return "".join("0" if character.isdigit() else character for character in real)


def face(answer: Answer, *ids: str) -> tuple[int, dict[str, str], bytes]:
    """All that can be told from an answer, but for the id that was asked for and what is new each time."""
    body = answer.body
    for each in ids:
        body = body.replace(each.encode(), b"<id>")
    headers = {
        name: value for name, value in answer.headers.items()
        if name not in ("x-request-id", "date", "openai-processing-ms")
    }  # fmt: skip
    return answer.status, headers, body


@pytest.mark.parametrize("what", ASKS, ids=str)
def test_anothers_id_answers_as_one_that_never_existed(owner: Wire, stranger: Wire, owned: Owned, what: Ask) -> None:
    theirs: str = getattr(owned, what.kind)
    never = unknown(theirs)
    assert never != theirs
    assert len(never) == len(theirs)
    own = make(stranger)
    before = owner.ask("GET", f"{RESPONSES}/{owned.response}").body
    # Asked within an object of one's own as well as within the other's: neither may tell the two ids apart.
    for holder in (owned, own):
        answer = ask(stranger, what, theirs, holder)
        assert face(answer, theirs) == face(ask(stranger, what, never, holder), never)
        assert 400 <= answer.status < 500
        assert answer.error["code"] in (None, "previous_response_not_found", "item_not_found")
    assert owner.ask("GET", f"{RESPONSES}/{owned.response}").body == before
    assert owner.ask("GET", f"{CHAT}/{owned.completion}").json()["metadata"] == {"own": "er"}
    answer = ask(owner, what, theirs, owned)
    assert answer.status == what.status, "not even its owner is answered, so this test shows nothing"


def test_lists_show_ones_own_only(owner: Wire, stranger: Wire, owned: Owned) -> None:
    own = make(stranger)
    for query in ("", "?metadata[own]=er", "?model=scripted", "?limit=100&order=desc"):
        mine = {entry["id"] for entry in stranger.ask("GET", CHAT + query).json()["data"]}
        theirs = {entry["id"] for entry in owner.ask("GET", CHAT + query).json()["data"]}
        assert own.completion in mine
        assert mine.isdisjoint(theirs)
    assert owned.completion in {
        entry["id"] for entry in owner.ask("GET", CHAT + "?limit=100&order=desc").json()["data"]
    }


def test_one_id_may_name_two_projects_items(owner: Wire, stranger: Wire) -> None:
    """Clients may bring their own ids for items: the same one in two projects names two things."""
    for wire, text in ((owner, "the owner's"), (stranger, "the stranger's")):
        item = {"type": "message", "id": "msg_shared", "role": "user", "content": text}
        assert wire.ask("POST", RESPONSES, {"model": "gpt-5-mini", "input": [item]}).status == 200
    for wire, text in ((owner, "the owner's"), (stranger, "the stranger's")):
        body = {"model": "gpt-5-mini", "input": [{"type": "item_reference", "id": "msg_shared"}]}
        answer = wire.ask("POST", RESPONSES, body).json()
        assert answer["output"][0]["content"][0]["text"] == text


def test_a_chain_does_not_reach_into_another_project(owner: Wire, stranger: Wire, owned: Owned) -> None:
    own = make(stranger)
    follow = {"model": "gpt-5-mini", "input": "go on", "previous_response_id": own.response}
    mine = stranger.ask("POST", RESPONSES, follow).json()
    assert mine["previous_response_id"] == own.response
    for wire, response in ((owner, mine["id"]), (owner, own.response), (stranger, owned.response)):
        answer = wire.ask("POST", RESPONSES, {**follow, "previous_response_id": response})
        assert (answer.status, answer.error["code"]) == (400, "previous_response_not_found")


def test_deleting_in_one_project_leaves_the_other_alone(owner: Wire, stranger: Wire, owned: Owned) -> None:
    own = make(stranger)
    assert stranger.ask("DELETE", f"{RESPONSES}/{own.response}").status == 200
    assert stranger.ask("DELETE", f"{CHAT}/{own.completion}").status == 200
    assert owner.ask("GET", f"{RESPONSES}/{owned.response}").status == 200
    assert owner.ask("GET", f"{CHAT}/{owned.completion}").status == 200
    gone = stranger.ask("GET", f"{RESPONSES}/{own.response}")
    never = stranger.ask("GET", f"{RESPONSES}/{unknown(own.response)}")
    assert face(gone, own.response) == face(never, unknown(own.response))


def test_models_are_the_same_for_all(owner: Wire, stranger: Wire) -> None:
    assert owner.ask("GET", "/v1/models").json() == stranger.ask("GET", "/v1/models").json()
