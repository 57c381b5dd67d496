"""A server that may have few files open: it says so, serves those that it can, and does not spin."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil

from support.gate import until
from support.manners import BODY, refused
from support.metered import metered
from support.rawhttp import Closed, Wire

FILES = 64


def test_a_server_with_few_files_refuses_what_it_has_none_for(tmp_path: Path) -> None:
    with metered(tmp_path, files=FILES) as server, contextlib.ExitStack() as stack:
        served = refusals = 0
        for _ in range(3 * FILES):
            wire = stack.enter_context(Wire(server.url, server.headers))
            try:
                answer = wire.ask("POST", "/v1/responses", BODY)
            except (Closed, BrokenPipeError):
                continue  # there was not even a file to tell it with
            if answer.status == 503:
                refused(answer, 503, "server_is_overloaded")
                refusals += 1
            else:
                assert answer.status == 200
                served += 1
        assert served >= 4
        assert refusals >= 2 * FILES
        assert "connections turned away" in server.log()
        process = psutil.Process(server.process.pid)
        before = sum(process.cpu_times()[:2])
        stack.close()

        def answers() -> bool:
            with Wire(server.url, server.headers) as wire:
                return wire.ask("POST", "/v1/responses", BODY).status == 200

        until(answers, "there is room again")
        assert sum(process.cpu_times()[:2]) - before < 5, "it spins"
