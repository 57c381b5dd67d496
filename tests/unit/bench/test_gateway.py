"""The gateway's benchmark: its load generator, its mock upstream, and what it reports."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.gateway import load, memory, mock, profile, report
from bench.gateway.load import LoadError
from bench.gateway.process import tree, usage

from support.real import ROOT


@pytest.fixture
def upstream() -> Iterator[int]:
    server = subprocess.Popen([sys.executable, "-m", "bench.gateway.mock"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        yield int(server.stdout.readline())
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


CHAT = b'{"model":"mock","messages":[{"role":"user","content":"hi"}]}'
STREAM = CHAT.replace(b"}]}", b'}],"stream":true}')


ASKED = [("/chat/completions", CHAT), ("/chat/completions", STREAM), ("/responses", CHAT)]


@pytest.mark.parametrize(("path", "body"), ASKED)
def test_every_answer_is_counted_once(upstream: int, path: str, body: bytes) -> None:
    result = load.run(upstream, load.request(f"/v1{path}", "k", body), connections=3, calls=50)
    assert result.answers == 50
    assert 0 < result.p50 <= result.p99


def test_an_answer_that_is_no_success_ends_the_run(upstream: int) -> None:
    with pytest.raises(LoadError, match="404"):
        load.run(upstream, load.request("/v1/nothing", "k", CHAT), connections=2, calls=50)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("answer", [mock.WHOLE, b"".join(mock.STREAM), b"".join(mock.RESPONSES)])
def test_answers_may_come_in_pieces_of_any_size(answer: bytes, size: int) -> None:
    class Wire:
        sent = 0

        def write(self, _: bytes) -> None:
            self.sent += 1

        def close(self) -> None:
            pass

    async def main() -> None:
        took: list[float] = []
        wire = Wire()
        connection = load.Connection(b"?", [3], took, asyncio.get_running_loop().create_future())
        connection.connection_made(wire)  # type: ignore[arg-type]
        for number in range(1, 3):
            for start in range(0, len(answer), size):
                connection.data_received(answer[start : start + size])
            assert (len(took), wire.sent) == (number, number + 1)

    asyncio.run(main())


def test_a_stream_has_fifty_chunks_and_an_end() -> None:
    text = b"".join(mock.STREAM_WITH_USAGE)
    assert len(mock.STREAM) == len(mock.STREAM_WITH_USAGE) == mock.CHUNKS
    chunks = [json.loads(line[6:]) for line in text.split(b"\n") if line.startswith(b"data: {")]
    assert len(chunks) == mock.CHUNKS + 1
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["completion_tokens"] == mock.CHUNKS - 2
    assert text.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


def test_a_slope() -> None:
    assert memory.slope([(0.0, 100.0), (1.0, 102.0), (2.0, 104.0)]) == pytest.approx(2.0)


def test_ratios_and_what_is_missed(capsys: pytest.CaptureFixture[str]) -> None:
    def measured(rate: float, cpu: float, core: float = 1.0) -> report.Measured:
        return report.Measured(load.Result(1, rate, 1.0, 2.0), cpu, 50.0, core)

    slow = {("ours", "chat", 32): measured(50, 0.2), ("reference", "chat", 32): measured(100, 0.1, 0.5)}
    assert report.ratios(slow)
    assert "0.50     0.50     0.65     0.65  MISSED (a core was not used up" in capsys.readouterr().out
    fast = {("ours", "chat", 32): measured(70, 0.12), ("reference", "chat", 32): measured(100, 0.1)}
    assert not report.ratios(fast)
    near = {("ours", "chat", 1): measured(1, 1), ("direct", "chat", 1): measured(1, 1)}
    assert not report.ratios(near)


def test_usage_of_a_tree_of_processes() -> None:
    assert os.getpid() in tree(os.getpid())
    assert usage(os.getpid()).rss > 1_000_000


def test_a_profile_counts_functions_once_for_each_stack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stacks = tmp_path / "stacks.txt"
    stacks.write_text("main (a/app.py:1);f (a/app.py:2);f (a/app.py:2) 3\nmain (a/app.py:1) 1\n")
    profile.show(stacks)
    shown = capsys.readouterr().out
    assert " 75.0%  75.0%   f (a/app.py)" in shown
    assert " 25.0% 100.0%   main (a/app.py)" in shown
