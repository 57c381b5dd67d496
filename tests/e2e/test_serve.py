"""`antiphon serve` as a process: how it starts, what it says and leaves, and how it stops."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest

from antiphon.domain import limits
from support.checking import Answers
from support.gate import until
from support.long import LONG, begin, ends_as
from support.real import ROOT, Server, banner_of, environment, launch, program, run_program, wait_for
from support.shallow import NAME, shallow_model


def sh(script: str, cwd: Path) -> str:
    """What a shell prints."""
    done = subprocess.run(
        ["/bin/sh", "-e", "-c", script],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_banner_can_be_pasted(tmp_path: Path) -> None:
    # A small context, because nothing else stops the smallest model from going on and on.
    with launch(tmp_path, "--model", str(shallow_model()), "--context", "256", cwd=ROOT) as server:
        address, setup, ask = banner_of(server.log())
        assert address == server.base_url
        assert f"(model {NAME}, 2 slots, context 256 tokens)" in server.log()
        if program().is_relative_to(ROOT):
            assert setup.startswith('eval "$(.venv/bin/antiphon env')
        answer = json.loads(sh(f"{setup}\n{ask}", ROOT))
        assert (answer["object"], answer["model"]) == ("response", NAME)
        assert answer["status"] in ("completed", "incomplete")


def test_env_is_for_eval_and_finds_the_running_server(small: Server, tmp_path: Path) -> None:
    for options, variables in (
        (["--data-dir", str(small.data_dir.path)], {}),
        ([], {"ANTIPHON_DATA_DIR": str(small.data_dir.path)}),
    ):
        done = run_program("env", *options, env=environment(**variables), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        shown = sh(f'{done.stdout}\nprintf "%s %s" "$OPENAI_BASE_URL" "$OPENAI_API_KEY"', tmp_path)
        assert shown == f"{small.base_url} {small.key}"


def test_what_it_keeps_is_for_its_owner_only(small: Server) -> None:
    path = small.data_dir.path
    assert path.stat().st_mode & 0o777 == 0o700
    for name in ("secret.key", "default.key", "antiphon.db"):
        assert (path / name).stat().st_mode & 0o777 == 0o600, name
    assert small.key.encode() not in (path / "antiphon.db").read_bytes()


def test_it_listens_on_loopback_only(small: Server) -> None:
    for process in (psutil.Process(small.process.pid), small.engine()):
        addresses = {item.laddr.ip for item in process.net_connections() if item.status == psutil.CONN_LISTEN}
        assert addresses == {"127.0.0.1"}, process


def test_the_engine_knows_none_of_our_secrets(small: Server) -> None:
    engine = small.engine()
    assert small.key not in " ".join(engine.cmdline())
    assert not [name for name in engine.environ() if name.startswith(("ANTIPHON_", "OPENAI_"))]
    assert not [file.path for file in engine.open_files() if Path(file.path).is_relative_to(small.data_dir.path)]


def test_the_log_has_no_content_and_no_secrets(small: Server, answers: Answers) -> None:
    with answers.client(small) as client:
        said = client.responses.create(model="gpt-5-mini", input="Zebras wear pyjamas.", max_output_tokens=16)
        with pytest.raises(openai.BadRequestError):
            client.responses.create(model="gpt-5-mini", input="Zebras wear pyjamas.", extra_body={"pyjamas": 1})
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="sk-antiphon-pyjamas").models.list()

    def logged() -> list[tuple[str, int]]:
        calls = [json.loads(line) for line in small.log().splitlines() if line.startswith("{")]
        return [(call.get("path"), call.get("status")) for call in calls]

    # Calls are noted a moment after they are over.
    until(lambda: ("/v1/responses", 400) in logged(), "the refused call is logged")
    log = small.log()
    for secret in ("pyjamas", said.output_text, small.key):
        assert secret not in log


def test_a_second_server_on_the_same_data_is_refused(small: Server, tmp_path: Path) -> None:
    done = run_program(
        "serve", "--data-dir", str(small.data_dir.path), "--model", str(shallow_model()), "--port", "0", cwd=tmp_path
    )
    assert done.returncode == 1
    assert f"Another Antiphon (process {small.process.pid}) is using {small.data_dir.path}" in done.stderr
    assert "Traceback" not in done.stderr
    assert small.ready()


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run_program(
            "serve", "--data-dir", str(tmp_path / "data"), "--model", str(shallow_model()), "--port", port, cwd=tmp_path
        )
    assert done.returncode == 1
    assert re.search(rf"Cannot listen on 127\.0\.0\.1:{port}: .+ --port", done.stderr)
    assert "Traceback" not in done.stderr


def test_keys_can_be_made_and_revoked_while_it_runs(small: Server, tmp_path: Path) -> None:
    place = ("--data-dir", str(small.data_dir.path))
    secret = run_program("keys", "create", "--name", "guest", *place, cwd=tmp_path).stdout.strip()
    listed = json.loads(run_program("keys", "list", "--json", *place, cwd=tmp_path).stdout)
    (made,) = [key["id"] for key in listed if key["name"] == "guest"]
    with openai.OpenAI(base_url=small.base_url, api_key=secret, max_retries=0) as guest:
        assert guest.models.list().data
        assert run_program("keys", "revoke", made, *place, cwd=tmp_path).returncode == 0

        def refused() -> bool:
            try:
                guest.models.list()
            except openai.AuthenticationError:
                return True
            return False

        wait_for(refused, limits.KEY_CACHE_TTL + 1)


def test_a_full_queue_refuses_and_a_client_that_leaves_frees_its_slot(tmp_path: Path, answers: Answers) -> None:
    options = ("--model", str(shallow_model()), "--slots", "1", "--queue-per-slot", "0")
    ask: dict[str, Any] = {"model": "gpt-5-mini", "input": "Say hello.", "max_output_tokens": 16}
    with launch(tmp_path, *options) as server, answers.client(server) as client:
        with begin(client, **LONG):
            for stream in (False, True):
                with pytest.raises(openai.InternalServerError) as full:
                    client.responses.create(**ask, stream=stream)
                assert (full.value.status_code, full.value.code) == (503, "server_is_overloaded")
                assert 1 <= int(full.value.response.headers["retry-after"]) <= 30
        # The SDK obeys Retry-After, so one that retries is served as soon as the slot is free.
        assert client.with_options(max_retries=3).responses.create(**ask).output_text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_told_and_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    with launch(tmp_path, "--model", str(shallow_model())) as server:
        engine = server.engine()
        server.process.send_signal(number)
        began = time.monotonic()
        assert server.process.wait(10) == 0, server.log()
        assert time.monotonic() - began < limits.CLOSE_TIMEOUT
        assert not engine.is_running()
    assert server.data_dir.running() is None
    assert run_program("env", "--data-dir", str(server.data_dir.path), cwd=tmp_path).returncode == 0
    assert "Traceback" not in server.log()


def test_a_stop_lets_an_answer_finish(tmp_path: Path, answers: Answers) -> None:
    with launch(tmp_path, "--model", str(shallow_model())) as server, answers.client(server) as client:
        ask = {"model": "gpt-5-mini", "input": "Say hello.", "max_output_tokens": 40}
        with client.responses.create(**ask, stream=True) as stream:  # type: ignore[call-overload]  # a dict is untyped
            events = iter(stream)
            next(events)
            server.process.send_signal(signal.SIGTERM)
            assert [event.type for event in events][-1] in ("response.completed", "response.incomplete")
        assert server.process.wait(10) == 0


def test_a_stop_ends_what_does_not_finish(tmp_path: Path, answers: Answers) -> None:
    with (
        launch(tmp_path, "--model", str(shallow_model()), "--drain-timeout", "1") as server,
        answers.client(server) as client,
    ):
        with begin(client, **LONG) as stream:
            begun = stream.response_id
            server.process.send_signal(signal.SIGTERM)
            at = time.monotonic()
            wait_for(lambda: not server.ready(), 1)  # nothing new is taken
            assert stream.ending() == "response.failed"
        assert server.process.wait(10) == 0, server.log()
        assert time.monotonic() - at < 1 + limits.CLOSE_TIMEOUT
    with (
        launch(tmp_path, "--model", str(shallow_model()), "--engine-start", "lazy", ready=False) as server,
        answers.client(server) as client,
    ):
        ends_as(client, begun, "failed")


def test_nothing_is_left_after_kill_9(tmp_path: Path) -> None:
    with launch(tmp_path, "--model", str(shallow_model())) as server:
        engine = server.engine()
        os.kill(server.process.pid, signal.SIGKILL)
        wait_for(lambda: not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE, 2)
        server.process.wait(5)
