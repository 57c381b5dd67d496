"""One short run of the gateway's benchmark, of everything in it that is ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from bench.gateway import report

from support.real import ROOT


@pytest.mark.skipif(not {0, 1} <= os.sched_getaffinity(0), reason="needs cores 0 and 1")
def test_a_short_run() -> None:
    command = [sys.executable, "-m", "bench.gateway", "--seconds", "0.2", "--connections", "2", "--json"]
    done = subprocess.run(
        [*command, "--only", "reference", "--only", "ours"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(["src", os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    measured = {(each["contender"], each["case"]) for each in json.loads(done.stdout.splitlines()[-1])}
    assert measured == {("reference", "chat"), ("reference", "stream")} | {
        ("ours", case) for case in ("chat", "stream", "responses")
    }
    assert report.HEAD.split()[0] in done.stdout
