"""The WebSocket mode of /v1/responses over a real socket."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI, NotFoundError
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.sync.client import connect

from antiphon.domain import limits
from antiphon.domain.errors import EngineFailed, Overloaded
from antiphon.engines.scripted import ScriptedEngine, Step, echo
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
from support.serving import Serving, other_project, serving
from support.sockets import Client, Pipeline, asked, opened

ADD = {"type": "function", "name": "add", "parameters": {"type": "object", "properties": {}}, "strict": False}


@pytest.fixture(scope="module")
def engine() -> ScriptedEngine:
    return ScriptedEngine(echo)


@pytest.fixture(scope="module")
def served(engine: ScriptedEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(engine, tmp_path_factory.mktemp("sockets")) as served:
        yield served


@pytest.fixture
def client(served: Serving) -> Iterator[Client]:
    with opened(served) as client:
        yield client


def text(response: dict[str, Any]) -> str:
    return "".join(part["text"] for item in response["output"] for part in item["content"])


def shown(engine: ScriptedEngine) -> list[tuple[str, str]]:
    return [(turn.role, turn.text) for turn in engine.asked[-1].turns if isinstance(turn, Message)]


def eventually(check: Any) -> None:
    deadline = time.monotonic() + 10
    while not check():
        assert time.monotonic() < deadline, "it never came to pass"
        time.sleep(0.01)


# --- the official client ----------------------------------------------------------------------------------------------
def test_sdk(served: Serving) -> None:
    with served.client() as sdk, sdk.responses.connect() as connection:
        connection.response.create(model="scripted", input="Hello there", store=False)
        events = []
        for event in connection:
            events.append(event)
            if event.type == "response.completed":
                break
        assert events[0].type == "response.created"
        assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "Hello there"
        first = events[-1].response
        with pytest.raises(NotFoundError):
            sdk.responses.retrieve(first.id)
        connection.response.create(model="scripted", input="Again", previous_response_id=first.id, stream_id="b")
        for event in connection:
            if event.type == "response.completed":
                break
        assert event.stream_id == "b"
        assert sdk.responses.retrieve(event.response.id).output_text == "Again"


def test_async_sdk_with_its_session(served: Serving) -> None:
    from openai.lib.responses_websocket import AsyncResponsesWebSocketSession, ResponsesWebSocketLimits

    bounds = ResponsesWebSocketLimits(
        max_lanes=4, max_events_per_lane=128, max_events=512, max_bytes_per_lane=2**20, max_bytes=2**21
    )

    async def run() -> None:
        sdk = AsyncOpenAI(base_url=f"{served.url}/v1", api_key=served.key, max_retries=0)
        async with (
            sdk,
            sdk.responses.connect() as connection,
            AsyncResponsesWebSocketSession(connection, limits=bounds) as session,
        ):
            lanes = [session.lane(name) for name in ("a", "b")]
            for number, lane in enumerate(lanes):
                await lane.send({"type": "response.create", "model": "scripted", "input": f"number {number}"})
            answers = [await lane.get_final_response() for lane in lanes]
            assert [answer.output_text for answer in answers] == ["number 0", "number 1"]

    asyncio.run(run())


# --- what goes before -------------------------------------------------------------------------------------------------
def test_unstored_responses_are_gone_on_from(client: Client, served: Serving, engine: ScriptedEngine) -> None:
    first = client.ask(input="one", store=False)
    second = client.ask(input="two", store=False, previous_response_id=first["id"])
    client.ask(input="three", store=False, previous_response_id=second["id"])
    said = ["one", "one", "two", "two", "three"]
    assert [text for _, text in shown(engine)] == said
    # A stored one after them is good for this connection, but the store has not what went before.
    third = client.ask(input="three", previous_response_id=second["id"])
    client.ask(input="four", previous_response_id=third["id"])
    assert [text for _, text in shown(engine)] == [*said, "three", "four"]
    with opened(served) as other:
        for response, store in ((first, True), (first, False), (third, True)):
            refusal = other.refusal(previous_response_id=response["id"], store=store)
            assert refusal == (400, "previous_response_not_found", "previous_response_id")


def test_stored_responses_are_found_again(client: Client, served: Serving) -> None:
    first = client.ask(input="one")
    assert client.ask(previous_response_id=first["id"], store=False)["previous_response_id"] == first["id"]
    with opened(served) as other:
        missing = (400, "previous_response_not_found", "previous_response_id")
        assert other.refusal(previous_response_id=first["id"], store=False) == missing
        assert other.ask(previous_response_id=first["id"])["status"] == "completed"
    with served.client() as sdk:
        sdk.responses.delete(first["id"])
    assert client.refusal(previous_response_id=first["id"]) == missing
    assert client.refusal(previous_response_id=first["id"], store=False) == missing


def test_other_projects_are_not_seen(client: Client, served: Serving) -> None:
    first = client.ask(input="one")
    with opened(served, key=other_project(served)) as other:
        refusal = other.refusal(previous_response_id=first["id"])
        assert refusal == (400, "previous_response_not_found", "previous_response_id")
        other.steer(first["id"], "x")
        assert other.until("response.steer.failed")["error"]["code"] == "response_not_found"


def test_a_failed_continuation_evicts_and_a_fork_does_not(client: Client) -> None:
    first = client.ask(input="one", store=False)
    bad = {"previous_response_id": first["id"], "store": False, "tools": [{"type": "web_search"}]}
    assert client.refusal(lane="fork", **bad)[:2] == (400, "unsupported_value")
    client.ask(previous_response_id=first["id"], store=False)
    assert client.refusal(**bad)[:2] == (400, "unsupported_value")
    refusal = client.refusal(previous_response_id=first["id"], store=False)
    assert refusal == (400, "previous_response_not_found", "previous_response_id")


def test_only_the_latest_are_remembered(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SOCKET_CHAINS", 2)
    first, second, third = [client.ask(input=word, store=False)["id"] for word in ("one", "two", "three")]
    assert client.refusal(previous_response_id=first, store=False)[1] == "previous_response_not_found"
    client.ask(previous_response_id=second, store=False)
    assert client.refusal(previous_response_id=second, store=False)[1] == "previous_response_not_found"
    assert third


def test_warm_up(client: Client, served: Serving, engine: ScriptedEngine) -> None:
    warm = client.ask(input="Know this.", instructions="Be kind.", generate=False)
    assert (warm["status"], warm["output"], warm["usage"]["output_tokens"]) == ("completed", [], 0)
    assert warm["usage"]["input_tokens"] == 4
    with served.client() as sdk:
        assert sdk.responses.retrieve(warm["id"]).output == []
    assert text(client.ask(input="Say it.", previous_response_id=warm["id"])) == "Say it."
    assert [text for _, text in shown(engine)] == ["Know this.", "Say it."]
    prewarmed = client.ask(store=False, prompt_cache_options={"prewarm": True})
    assert prewarmed["output"] == []
    assert client.ask(previous_response_id=prewarmed["id"], store=False)["output"] != []


# --- lanes ------------------------------------------------------------------------------------------------------------
def test_lanes_run_side_by_side_and_each_in_order(tmp_path: Path) -> None:
    gate = Pipeline()

    def script(generation: Generation) -> Sequence[Step]:
        return gate(generation) if asked(generation) == "slow" else echo(generation)

    with serving(ScriptedEngine(script), tmp_path) as served, opened(served) as client:
        client.create(input="slow")
        client.until("response.output_text.delta")
        client.create(input="second")
        client.create(lane="b", input="aside")
        assert text(client.response("b")) == "aside"
        gate.open()
        assert [text(client.response()), text(client.response())] == ["one two", "second"]


def test_seventeen_at_once(tmp_path: Path) -> None:
    gate = Pipeline()
    engine = ScriptedEngine(gate)
    with serving(engine, tmp_path) as served, opened(served) as client:
        for number in range(17):
            client.create(lane=f"lane-{number}")
        for _ in range(16 * 5):
            client.recv()
        assert len(engine.asked) == 16
        assert not [event for event in client.seen if event["stream_id"] == "lane-16"]
        gate.open()
        ended = 0
        while ended < 17:
            ended += client.recv()["type"] == "response.completed"


def test_thirty_three_lanes(client: Client) -> None:
    for number in range(limits.SOCKET_LANES):
        assert client.ask(lane=f"lane-{number}", store=False)["status"] == "completed"
    refusal = client.refusal(lane="lane-32")
    assert refusal == (400, "websocket_stream_limit_reached", "stream_id")
    assert client.ask(store=False)["status"] == "completed"


# --- steering ---------------------------------------------------------------------------------------------------------
def steered_script(gate: Pipeline) -> Any:
    return lambda generation: gate(generation) if asked(generation) == "slow" else echo(generation)


@pytest.mark.parametrize("store", [True, False])
def test_steering(tmp_path: Path, store: bool) -> None:
    gate = Pipeline("one ", "two ", "three")
    engine = ScriptedEngine(steered_script(gate))
    with serving(engine, tmp_path) as served, opened(served) as client:
        client.create(lane="a", input="slow", instructions="Be kind.", store=store)
        client.create(lane="a", input="later", store=store)
        response_id = client.until("response.created", lane="a")["response"]["id"]
        client.until("response.output_text.delta", lane="a")
        client.steer(response_id, "Stop that.")
        accepted = client.until("response.steer.accepted", lane="a")["steer"]
        assert accepted["previous_response_id"] == response_id
        gate.open()
        steered = client.response("a")
        assert steered["id"] == response_id
        assert (steered["status"], steered["incomplete_details"]) == ("incomplete", {"reason": "steered"})
        assert text(steered) == "one "
        successor = client.response("a")
        assert (successor["previous_response_id"], successor["instructions"]) == (response_id, "Be kind.")
        assert text(successor) == "Stop that."
        assert text(client.response("a")) == "later"
        turns = [[turn.text for turn in asked.turns if isinstance(turn, Message)] for asked in engine.asked]
        assert turns[1] == ["Be kind.", "slow", "one ", "Stop that."]
        if store:
            with served.client() as sdk:
                kept = sdk.responses.retrieve(response_id)
                assert kept.incomplete_details is not None
                assert kept.incomplete_details.reason == "steered"
        client.steer(response_id, "Too late.")
        failed = client.until("response.steer.failed", lane="a")
        assert failed["error"]["code"] == "response_not_active"
        assert failed["steer"] == {"previous_response_id": response_id, "input": "Too late."}


def test_steering_while_the_prompt_is_read(tmp_path: Path) -> None:
    def script(generation: Generation) -> Sequence[Step]:
        return [asyncio.Event()] if asked(generation) == "slow" else echo(generation)

    engine = ScriptedEngine(script)
    with serving(engine, tmp_path) as served, opened(served) as client:
        client.create(input="slow")
        response_id = client.until("response.created")["response"]["id"]
        client.steer(response_id, "one")
        steered = client.response()
        assert (steered["incomplete_details"], steered["output"]) == ({"reason": "steered"}, [])
        assert text(client.response()) == "one"
        assert engine.closed == 1


def calling(generation: Generation) -> Sequence[Step]:
    if any(isinstance(turn, ToolResult) for turn in generation.turns):
        return echo(generation)
    return [CallStart("add", "call_1"), CallArguments("{}"), Finish("tool_calls", Usage(1, 0, 1, 0))]


def test_steering_a_response_that_waits_for_a_tool(tmp_path: Path) -> None:
    engine = ScriptedEngine(calling)
    with serving(engine, tmp_path) as served, opened(served) as client:
        first = client.ask(tools=[ADD], store=False)
        client.steer(first["id"], "Hurry.")
        accepted = client.until("response.steer.accepted")
        pending = client.until("response.steer.pending")
        assert pending["steer"] == accepted["steer"]
        assert pending["reason"] == "waiting_for_required_input"
        assert pending["required_input"] == [{"type": "function_call_output", "call_id": "call_1", "name": "add"}]
        output = {**pending["required_input"][0], "output": "3"}
        del output["name"]
        second = client.ask(previous_response_id=first["id"], input=[output], tools=[ADD], store=False)
        assert text(second) == "Hurry."
        # One that is not answered gives its steering back.
        first = client.ask(tools=[ADD], store=False)
        client.steer(first["id"], "Hurry.")
        client.until("response.steer.pending")
        assert client.refusal(previous_response_id=first["id"], store=False)[0] == 400
        failed = client.until("response.steer.failed")
        assert (failed["error"]["code"], failed["steer"]["input"]) == ("successor_creation_failed", "Hurry.")


def test_a_call_is_not_cut_off_by_steering(tmp_path: Path) -> None:
    gates: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def script(_: Generation) -> Sequence[Step]:
        gates.append((asyncio.get_running_loop(), asyncio.Event()))
        start, arguments = CallStart("add", "call_1"), CallArguments("{}")
        return [TextDelta("x"), start, gates[0][1], arguments, Finish("tool_calls", Usage(1, 0, 1, 0))]

    with serving(ScriptedEngine(script), tmp_path) as served, opened(served) as client:
        client.create(tools=[ADD])
        response_id = client.until("response.created")["response"]["id"]
        while client.until("response.output_item.added")["item"]["type"] != "function_call":
            pass
        client.steer(response_id, "Hurry.")
        client.until("response.steer.accepted")
        gates[0][0].call_soon_threadsafe(gates[0][1].set)
        assert [item["status"] for item in client.response()["output"]] == ["completed", "completed"]
        assert client.until("response.steer.pending")["steer"]["previous_response_id"] == response_id


# --- what is refused --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"model": None}, (400, "missing_required_parameter", "model")),
        ({"model": "nobody"}, (404, "model_not_found", "model")),
        ({"input": None}, (400, "missing_required_parameter", "input")),
        ({"input": 5}, (400, "invalid_type", "input")),
        ({"background": True}, (400, "unsupported_parameter", "background")),
        ({"stream": "yes"}, (400, "invalid_type", "stream")),
        ({"generate": "no"}, (400, "invalid_type", "generate")),
        ({"frobnicate": 1}, (400, "unknown_parameter", "frobnicate")),
        ({"stream_id": "no spaces"}, (400, "invalid_stream_id", "stream_id")),
        ({"previous_response_id": "resp_0"}, (400, "previous_response_not_found", "previous_response_id")),
        ({"previous_response_id": ["resp_0"]}, (400, "invalid_type", "previous_response_id")),
        ({"type": "response.cancel"}, (400, "invalid_value", "type")),
        ({"type": None}, (400, "missing_required_parameter", "type")),
    ],
)
def test_bad_requests(client: Client, fields: dict[str, Any], refusal: tuple[int, str, str | None]) -> None:
    assert client.refusal(**fields) == refusal
    assert client.ask(store=False)["status"] == "completed", "the connection must live on"


def test_what_clients_of_the_http_mode_say_as_well(client: Client) -> None:
    assert client.ask(stream=True, background=False, store=False, stream_id=None)["status"] == "completed"
    plain = {"stream_options": {"include_obfuscation": False}, "store": False}
    client.ask(**plain)
    deltas = [event for event in client.seen if event["type"] == "response.output_text.delta"]
    assert "obfuscation" in deltas[0]
    assert "obfuscation" not in deltas[-1]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("", "invalid_json"),
        ("not JSON", "invalid_json"),
        ('{"type": "response.create"', "invalid_json"),
        ('{"type": "response.create", "temperature": NaN}', "invalid_json"),
        ('{"a":' * 200 + "1" + "}" * 200, "invalid_json"),
        ("[" * 100_000, "invalid_json"),
        ('"\\ud800"', "invalid_json"),
        ("[]", "invalid_type"),
        ("null", "invalid_type"),
        (b'{"type": "response.create"}', "invalid_message"),
    ],
)
def test_messages_that_are_none(client: Client, message: str | bytes, code: str) -> None:
    client.connection.send(message)
    assert client.error() == (400, code, None)
    assert client.ask(store=False)["status"] == "completed"


def closes_with(client: Client, *message: Any) -> int | None:
    """The code with which the connection is closed, after a last message or by itself."""
    try:
        for each in message:
            client.connection.send(each)
        for _ in range(1000):
            client.connection.recv(timeout=10)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None
    return None


def test_a_message_that_is_too_large(tmp_path: Path) -> None:
    with serving(ScriptedEngine(), tmp_path, max_body=20_000) as served:
        with opened(served) as client:
            assert client.ask(input="x" * 10_000)["status"] == "completed"
            assert closes_with(client, "x" * 20_001) == 1009
        with opened(served) as client:
            assert closes_with(client, iter(["x" * 8_000] * 3)) == 1009


def test_a_message_in_too_many_pieces(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_FRAGMENTS", 50)
    pieces = [Frame(Opcode.TEXT, b"{", fin=False), *[Frame(Opcode.CONT, b"", fin=False)] * 60]
    # At once: what the server has not read when it closes would cost the client the close frame.
    client.connection.socket.sendall(b"".join(piece.serialize(mask=True) for piece in pieces))
    assert closes_with(client) == 1009


def test_text_that_is_not_utf8(client: Client) -> None:
    frame = Frame(Opcode.TEXT, b'{"type": "\xff"}')
    client.connection.socket.sendall(frame.serialize(mask=True))
    assert closes_with(client) == 1007


def test_pings_are_answered(client: Client) -> None:
    assert client.connection.ping().wait(10)


@pytest.mark.parametrize("authorization", [None, "Bearer sk-wrong", "Basic abc", ""])
def test_without_a_key(served: Serving, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    with pytest.raises(InvalidStatus) as caught:
        connect(served.url.replace("http", "ws") + "/v1/responses", additional_headers=headers)
    answer = caught.value.response
    assert answer.status_code == 401
    assert json.loads(answer.body or b"")["error"]["type"] == "invalid_request_error"
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/v1/responses/resp_0", "/v1/realtime", "/"])
def test_other_paths_do_not_speak_it(served: Serving, path: str) -> None:
    with pytest.raises(InvalidStatus) as caught:
        connect(served.url.replace("http", "ws") + path, additional_headers=served.headers)
    assert caught.value.response.status_code == 404


def test_a_handshake_without_sense(served: Serving) -> None:
    import httpx2

    headers = {**served.headers, "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "a"}
    answer = httpx2.get(f"{served.url}/v1/responses", headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_websocket_handshake"


# --- what breaks ------------------------------------------------------------------------------------------------------
def test_an_engine_that_breaks(tmp_path: Path) -> None:
    def script(generation: Generation) -> Sequence[Step]:
        return [TextDelta("x"), EngineFailed("It broke.")] if asked(generation) == "bad" else echo(generation)

    with serving(ScriptedEngine(script), tmp_path) as served, opened(served) as client:
        failed = client.ask(input="bad", store=False)
        assert (failed["status"], failed["error"]["message"]) == ("failed", "It broke.")
        assert client.ask(store=False)["status"] == "completed"


def test_an_engine_that_is_busy(tmp_path: Path) -> None:
    def admit(_: Generation) -> None:
        raise Overloaded("Busy.")

    with serving(ScriptedEngine(admit=admit), tmp_path) as served, opened(served) as client:
        client.create(lane="a")
        event = client.until("error", lane="a")
        assert (event["status"], event["error"]["headers"]) == (503, {"retry-after": "1"})


def test_whoever_hangs_up_cancels(tmp_path: Path) -> None:
    engine = ScriptedEngine(Pipeline())
    with serving(engine, tmp_path) as served:
        with opened(served) as client:
            client.create()
            client.create(lane="b")
            client.create()
            created: dict[str | None, str] = {}
            while len(created) < 2:  # the lanes begin in any order
                event = client.recv()
                if event["type"] == "response.created":
                    created[event.get("stream_id")] = event["response"]["id"]
            ids = list(created.values())
            client.connection.socket.shutdown(2)
        eventually(lambda: engine.closed == 2)
        with served.client() as sdk:
            eventually(lambda: [sdk.responses.retrieve(name).status for name in ids] == ["cancelled"] * 2)
        assert len(engine.asked) == 2


def test_a_client_that_takes_nothing_holds_its_response_up(tmp_path: Path) -> None:
    made = 0

    class Endless(list[Step]):
        def __iter__(self) -> Iterator[Step]:
            nonlocal made
            while made < 1_000_000:
                made += 1
                yield TextDelta("word " * 200)

        def __getitem__(self, _: Any) -> Any:
            return self

    with serving(ScriptedEngine(lambda _: Endless()), tmp_path) as served, opened(served, max_queue=1) as client:
        client.create(store=False)
        eventually(lambda: made > 0)
        before = -1
        while before != made:
            before = made
            time.sleep(0.2)
        assert 0 < made < 50_000
        client.connection.socket.shutdown(2)


# --- how it ends ------------------------------------------------------------------------------------------------------
def test_sixty_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SOCKET_LIFETIME", 0.5)
    gate = Pipeline()
    with serving(ScriptedEngine(gate), tmp_path) as served, opened(served) as client:
        client.create(lane="a")
        client.create(lane="a")
        assert client.error("a") == (400, "websocket_connection_limit_reached", None)
        assert client.refusal(lane="b") == (400, "websocket_connection_limit_reached", None)
        gate.open()
        assert client.response("a")["status"] == "completed"
        assert client.error() == (400, "websocket_connection_limit_reached", None)
        assert closes_with(client) == 1001


@pytest.mark.parametrize("patience", [5.0, 0.3])
def test_a_server_that_stops_lets_responses_end(tmp_path: Path, patience: float) -> None:
    gate = Pipeline()
    got: dict[str, Any] = {}

    def listen(client: Client) -> None:
        client.until("response.output_text.delta")
        client.create()
        started.set()
        assert client.error() == (503, "server_is_shutting_down", None)
        if patience > 1:
            gate.open()
        got["response"] = client.response()
        got["code"] = closes_with(client)

    started = threading.Event()
    with serving(ScriptedEngine(gate), tmp_path, drain_timeout=patience) as served:
        connection = opened(served)
        client = connection.__enter__()
        client.create()
        thread = threading.Thread(target=listen, args=(client,))
        thread.start()
        assert started.wait(10)
    thread.join(10)
    connection.__exit__(None, None, None)
    assert got["response"]["status"] == ("completed" if patience > 1 else "failed")
    assert got["code"] == 1001


def test_a_key_that_is_revoked_opens_nothing_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from antiphon.stores.store import SqlStore

    monkeypatch.setattr(limits, "KEY_CACHE_TTL", 0.0)

    async def revoke(served: Serving) -> None:
        store = SqlStore(served.settings.database, backups=None)
        await store.open()
        for key in await store.list_keys():
            await store.revoke_key(key.id, 1)
        await store.close()

    with serving(ScriptedEngine(), tmp_path) as served, opened(served) as client:
        client.ask()
        asyncio.run(revoke(served))
        assert client.refusal()[:2] == (401, "invalid_api_key")
