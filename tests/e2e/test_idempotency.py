"""`Idempotency-Key` over a real socket: one generation for one key, whatever happens to its client."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from antiphon.domain import limits
from antiphon.domain.errors import EngineFailed, Overloaded
from antiphon.engines.scripted import ScriptedEngine, Step
from antiphon.protocol.generation import Finish, Generation, Message, TextDelta, Usage
from conformance.spec import check_error
from support.serving import Serving, other_project, serving

Body = dict[str, Any]
_numbers = itertools.count()


class Pipeline:
    """Lets the engine's answers pass; closed, it holds them back."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.loop: asyncio.AbstractEventLoop | None = None

    def set(self) -> None:
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self.open.set)


class World:
    """A server whose answers are numbered: two generations never say the same."""

    def __init__(self) -> None:
        self.gate = Pipeline()
        self.fail: BaseException | None = None
        self.said = 0
        self.began = threading.Semaphore(0)
        self.engine = ScriptedEngine(self.script, admit=self.admit)

    def admit(self, generation: Generation) -> None:
        if isinstance(self.fail, Overloaded):
            raise self.fail

    def script(self, generation: Generation) -> Sequence[Step]:
        self.gate.loop = asyncio.get_running_loop()
        self.said += 1
        self.began.release()
        said = [turn.text for turn in generation.turns if isinstance(turn, Message)][-1]
        last: Step = self.fail or Finish("stop", Usage(1, 0, 3))
        return [TextDelta(f"answer {self.said}"), self.gate.open, TextDelta(f" to {said}"), last]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Serving]]:
    world = World()
    with serving(world.engine, tmp_path_factory.mktemp("keys")) as served:
        yield world, served


@pytest.fixture
def world(worlds: tuple[World, Serving]) -> Iterator[World]:
    world = worlds[0]
    while world.began.acquire(blocking=False):
        pass
    yield world
    world.fail = None
    world.gate.open.set()


@pytest.fixture
def http(worlds: tuple[World, Serving]) -> Iterator[httpx2.Client]:
    served = worlds[1]
    with httpx2.Client(base_url=f"{served.url}/v1", headers=served.headers, timeout=30) as client:
        yield client


def new_key() -> str:
    return f"key {next(_numbers)}"


def ask(**more: Any) -> Body:
    return {"model": "gpt-5-mini", "input": "hello", **more}


def post(
    http: httpx2.Client, key: str, body: Body | None = None, path: str = "/responses", **more: Any
) -> httpx2.Response:
    return http.post(path, json=ask() if body is None else body, headers={"Idempotency-Key": key}, **more)


def replayed(answer: httpx2.Response) -> bool:
    return answer.headers.get("idempotency-replayed") == "true"


def code(answer: httpx2.Response) -> tuple[int, str]:
    check_error(answer.json())
    return answer.status_code, answer.json()["error"]["code"]


BODIES: list[tuple[str, Body]] = [
    ("/responses", ask()),
    ("/responses", ask(stream=True)),
    ("/responses", ask(store=False)),
    ("/responses", ask(store=False, stream=True)),
    ("/responses", ask(background=True)),
    ("/responses", ask(background=True, stream=True)),
    ("/chat/completions", {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hi"}], "store": True}),
    ("/chat/completions", {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hi"}]}),
    ("/chat/completions", {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hi"}], "stream": True}),
    ("/prompts", {"name": "p", "instructions": "x"}),
]


@pytest.mark.parametrize(("path", "body"), BODIES)
def test_the_same_request_gets_the_same_bytes(world: World, http: httpx2.Client, path: str, body: Body) -> None:
    key = new_key()
    first = post(http, key, body, path)
    said = world.said
    again = post(http, key, body, path)
    assert (first.status_code, replayed(first), replayed(again)) == (200, False, True)
    assert again.content == first.content
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    if not body.get("background"):
        assert world.said == said


def test_without_a_key_everything_is_made_anew(world: World, http: httpx2.Client) -> None:
    ids = {http.post("/responses", json=ask()).json()["id"] for _ in range(2)}
    assert len(ids) == 2


def test_a_key_belongs_to_one_request(http: httpx2.Client) -> None:
    key = new_key()
    assert post(http, key).status_code == 200
    for path, body in [
        ("/responses", ask(input="other")),
        ("/responses", ask(store=False)),
        ("/chat/completions", ask()),
        ("/responses?x=1", ask()),
    ]:
        refused = post(http, key, body, path)
        assert code(refused) == (409, "idempotency_key_reused")
        assert refused.json()["error"]["param"] == "Idempotency-Key"
    assert replayed(post(http, key))


def test_a_key_belongs_to_one_project(worlds: tuple[World, Serving], http: httpx2.Client) -> None:
    key = new_key()
    first = post(http, key)
    foreign = {"Authorization": f"Bearer {other_project(worlds[1], 'keys')}", "Idempotency-Key": key}
    other = http.post("/responses", json=ask(), headers=foreign)
    assert other.status_code == 200
    assert other.json()["id"] != first.json()["id"]


@pytest.mark.parametrize("key", ["x" * 256, "ключ", "tab\there", "é", ""])
def test_keys_that_are_none(http: httpx2.Client, key: str) -> None:
    headers = [(b"idempotency-key", key.encode())]
    refused = http.post("/responses", json=ask(), headers=headers)  # type: ignore[arg-type]  # bytes are fine
    assert code(refused) == (400, "invalid_header")
    assert refused.json()["error"]["param"] == "Idempotency-Key"


def test_a_key_is_for_posts_only(http: httpx2.Client) -> None:
    assert http.get("/models", headers={"Idempotency-Key": "x" * 300}).status_code == 200


def test_refusals_are_kept(world: World, http: httpx2.Client) -> None:
    for body, status in [(ask(temperature=9), 400), (ask(model="none"), 404)]:
        key = new_key()
        first, again = post(http, key, body), post(http, key, body)
        assert first.status_code == again.status_code == status
        assert first.content == again.content
        assert replayed(again)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/responses", "/chat/completions"])
def test_what_broke_is_tried_again(world: World, http: httpx2.Client, path: str, stream: bool) -> None:
    key = new_key()
    body = ask(stream=stream)
    if path != "/responses":
        body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    world.fail = EngineFailed("broken")
    first = post(http, key, body, path)
    assert stream or first.status_code == 500
    world.fail = None
    second = post(http, key, body, path)
    assert second.status_code == 200
    assert not replayed(second)
    assert replayed(post(http, key, body, path))


def test_a_full_queue_is_tried_again(world: World, http: httpx2.Client) -> None:
    key = new_key()
    world.fail = Overloaded("full")
    assert post(http, key).status_code == 503
    world.fail = None
    assert post(http, key).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("store", [True, False])
def test_duplicates_wait_for_the_first(world: World, http: httpx2.Client, stream: bool, store: bool) -> None:
    key, said = new_key(), world.said
    world.gate.open.clear()
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(post, http, key, ask(stream=stream, store=store)) for _ in range(8)]
        assert world.began.acquire(timeout=10)
        # A different body need not wait to be refused.
        assert code(post(http, key, ask(input="other"))) == (409, "idempotency_key_reused")
        world.gate.set()
        answers = [future.result(30) for future in asked]
    assert world.said == said + 1
    assert len({answer.content for answer in answers}) == 1
    assert sorted(map(replayed, answers)) == [False] + [True] * 7


@pytest.mark.parametrize("stream", [False, True])
def test_who_hangs_up_and_asks_again_gets_the_answer(world: World, http: httpx2.Client, stream: bool) -> None:
    key, said = new_key(), world.said
    world.gate.open.clear()
    with pytest.raises(httpx2.TimeoutException):
        post(http, key, ask(stream=stream), timeout=0.3)
    assert world.began.acquire(timeout=10)
    with ThreadPoolExecutor(1) as pool:
        again = pool.submit(post, http, key, ask(stream=stream))
        world.gate.set()
        answer = again.result(30)
    assert replayed(answer)
    assert answer.status_code == 200
    assert f"answer {said + 1}" in answer.text
    assert world.said == said + 1


def test_deleting_what_an_answer_shows_deletes_the_answer(
    world: World, http: httpx2.Client, worlds: tuple[World, Serving]
) -> None:
    for body in (ask(input="secret-to-be-deleted"), ask(input="secret-to-be-deleted", stream=True)):
        key = new_key()
        first = post(http, key, body)
        made = first.text.partition('"id":"')[2].partition('"')[0]
        assert http.delete(f"/responses/{made}").status_code == 200
        said = world.said
        assert code(post(http, key, body)) == (409, "idempotent_answer_not_kept")
        assert world.said == said


def test_too_large_an_answer_is_not_kept(world: World, http: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_KEPT_ANSWER", 2_000)
    key = new_key()
    body = ask(input="x" * 3_000, stream=True)
    first = post(http, key, body)
    assert len(first.content) > 3_000
    assert first.content.endswith(b"data: [DONE]\n\n")
    assert code(post(http, key, body)) == (409, "idempotent_answer_not_kept")


def test_unstored_answers_are_not_on_the_disk(tmp_path: Any) -> None:
    """And after a restart their keys are known to be used up, so nothing is made twice."""
    world = World()
    secret = "unwritten-7f3a"
    bodies = [
        ("/responses", ask(input=secret, store=False)),
        ("/responses", ask(input=secret, store=False, stream=True)),
        ("/responses", ask(input=secret, store=False, temperature=9, metadata={secret: secret})),
        ("/chat/completions", {"model": "gpt-5-mini", "messages": [{"role": "user", "content": secret}]}),
    ]
    stored = ("/responses", ask(input="stored"))
    answers = []
    with serving(world.engine, tmp_path) as served, httpx2.Client(base_url=f"{served.url}/v1", timeout=30) as http:
        http.headers.update(served.headers)
        for number, (path, body) in enumerate([*bodies, stored]):
            first = post(http, f"k{number}", body, path)
            assert post(http, f"k{number}", body, path).content == first.content
            answers.append(first)
        files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert b"answer 1" not in files
        assert secret.encode() not in files
        assert b"to stored" in files
    said = world.said
    with serving(world.engine, tmp_path) as served, httpx2.Client(base_url=f"{served.url}/v1", timeout=30) as http:
        http.headers.update(served.headers)
        for number, (path, body) in enumerate(bodies):
            assert code(post(http, f"k{number}", body, path)) == (409, "idempotent_answer_not_kept")
        again = post(http, f"k{len(bodies)}", stored[1])
        assert again.content == answers[-1].content
    assert world.said == said


def test_two_servers_on_one_database(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits for the first. (SQLite stands in for PostgreSQL here: each server has a store of its own.)"""
    monkeypatch.setattr(limits, "KEY_TICK", 0.02)
    first, second = World(), World()
    first.gate.open.clear()
    with (
        serving(first.engine, tmp_path) as one,
        serving(second.engine, tmp_path) as two,
        httpx2.Client(headers=one.headers, timeout=30) as http,
        ThreadPoolExecutor(2) as pool,
    ):
        headers = {"Idempotency-Key": "shared"}
        asked = pool.submit(http.post, f"{one.url}/v1/responses", json=ask(), headers=headers)
        assert first.began.acquire(timeout=10)
        again = pool.submit(http.post, f"{two.url}/v1/responses", json=ask(), headers=headers)
        other = http.post(f"{two.url}/v1/responses", json=ask(input="other"), headers=headers)
        assert code(other) == (409, "idempotency_key_reused")
        first.gate.set()
        assert again.result(30).content == asked.result(30).content
    assert second.said == 0


def test_a_dead_servers_key_can_be_used_again(
    world: World, http: httpx2.Client, worlds: tuple[World, Serving], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its claim is written by hand, as a crash leaves it: with the fingerprint of the request that is then sent."""
    import hmac

    from antiphon.domain.records import KeyClaim
    from antiphon.stores.store import SqlStore

    served = worlds[1]
    sent = b'{"model":"gpt-5-mini","input":"after a crash"}'
    fingerprint = hmac.digest(served.data_dir.secret(), b"POST /v1/responses?\n" + sent, "sha256")

    headers = {"Idempotency-Key": "left behind", "Content-Type": "application/json"}

    async def leave_and_ask() -> httpx2.Response:
        store = SqlStore(served.settings.database, backups=None)
        await store.open()
        try:
            project = await store.get_project("default")
            assert project is not None
            claim = KeyClaim(project.id, b"left behind", fingerprint, "the dead")
            assert await store.claim_key(claim, now=time.time(), until=int((time.time() + 0.5) * 1000)) is None
            return await asyncio.to_thread(http.post, "/responses", content=sent, headers=headers)
        finally:
            await store.close()

    monkeypatch.setattr(limits, "KEY_TICK", 0.02)
    answer = asyncio.run(leave_and_ask())
    assert answer.status_code == 200
    assert not replayed(answer)
    assert 300 < int(answer.headers["openai-processing-ms"]) < 10_000
    assert replayed(http.post("/responses", content=sent, headers=headers))


def test_answers_in_memory_are_bounded(http: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go first."""
    keys = [new_key() for _ in range(3)]
    body = ask(store=False, input="y" * 1_000)
    size = len(post(http, new_key(), body).content)
    monkeypatch.setattr(limits, "MAX_ANSWERS_IN_MEMORY", 2 * size + size // 2)
    answers = [post(http, key, body) for key in keys]
    assert code(post(http, keys[0], body)) == (409, "idempotent_answer_not_kept")
    for key, first in list(zip(keys, answers, strict=True))[1:]:
        assert post(http, key, body).content == first.content
