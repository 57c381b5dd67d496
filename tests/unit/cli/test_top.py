"""`antiphon top`: what it makes of two looks at a server's metrics, and the command as a user runs it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.cli.live import Snapshot, Span, frame, quantile
from antiphon.cli.top import lines
from antiphon.engines.scripted import ScriptedEngine
from antiphon.telemetry.metrics import BOUNDS, Histogram
from support.serving import Serving, serving

from .conftest import Run


def looked(at: float, **values: float) -> Snapshot:
    """A look at series named `metric__label__value…`."""
    result: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for name, value in values.items():
        metric, *labels = name.split("__")
        pairs = frozenset(zip(labels[::2], labels[1::2], strict=True))
        result.setdefault(metric, {})[pairs] = value
    return Snapshot(at, result)


# --- figures ----------------------------------------------------------------------------------------------------------
def test_rates_are_over_the_time_between_two_looks() -> None:
    span = Span(looked(10, calls__model__a=5, calls__model__b=1), looked(14, calls__model__a=25, calls__model__b=3))
    assert span.rate("calls", model="a") == 5
    assert span.rate("calls") == 5.5
    assert span.rate("nothing") == 0


def test_a_server_that_was_started_anew_has_no_negative_rates() -> None:
    span = Span(looked(0, calls=1000), looked(2, calls=10))
    assert span.rate("calls") == 5


def test_series_that_are_new_count_from_zero() -> None:
    assert Span(looked(0), looked(2, calls__model__a=10)).rate("calls") == 5


@given(st.lists(st.floats(0, 200), min_size=1), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(times: Sequence[float], part: float) -> None:
    histogram = Histogram()
    for each in times:
        histogram.observe(each)
    found = quantile({float(bound.replace("+Inf", "inf")): count for bound, count in histogram.buckets()}, part)
    assert found is not None
    true = sorted(times)[max(0, -(-int(part * 1000) * len(times) // 1000) - 1)]
    below = max((bound for bound in BOUNDS if bound < true), default=0.0)
    above = min(bound for bound in BOUNDS if bound >= true)
    assert below * 1000 - 0.01 <= found <= above * 1000 + 0.01


def test_there_is_no_quantile_of_nothing() -> None:
    assert quantile({}, 0.5) is None
    assert quantile({0.1: 0.0, float("inf"): 0.0}, 0.5) is None


def test_what_is_beyond_the_last_bound_is_told_as_that_bound() -> None:
    assert quantile({300.0: 0.0, float("inf"): 4.0}, 0.5) == 300_000


def test_an_idle_server_can_be_shown() -> None:
    shown = frame(Span(looked(0), looked(1)))
    assert shown["cost_usd_per_minute"] is None
    assert "requests 0.0/s" in "\n".join(lines("http://here/metrics", shown))


def test_a_look_shows_the_busiest_first_and_no_more_than_fits() -> None:
    calls = {f"antiphon_model_calls_total__model__m{number}": float(number) for number in range(50)}
    shown = frame(Span(looked(0), looked(1, **calls)))
    assert [row["name"] for row in shown["models"]][:2] == ["m49", "m48"]
    for most in (10, 24, 60):
        assert len(lines("http://here/metrics", shown, most=most)) <= max(most, 16)


def test_breaker_and_cost_are_shown() -> None:
    shown = frame(
        Span(
            looked(0, antiphon_cost_usd_total__model__m=1.0),
            looked(
                60,
                antiphon_cost_usd_total__model__m=1.5,
                antiphon_model_calls_total__model__m=3,
                antiphon_target_attempts_total__target__up_m__outcome__failed=30,
                antiphon_target_breaker__target__up_m__state__open=1,
                antiphon_target_breaker__target__up_m__state__closed=0,
                antiphon_target_outstanding__target__up_m=2,
            ),
        )
    )
    assert shown["cost_usd_per_minute"] == 0.5
    [target] = shown["targets"]
    assert (target["breaker"], target["outstanding"], target["failed_per_second"]) == ("open", 2, 0.5)
    text = "\n".join(lines("http://here/metrics", shown))
    assert "$0.5000/min" in text
    assert "open" in text


# --- the command ------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(ScriptedEngine(), tmp_path_factory.mktemp("top")) as server:
        client = server.client()
        client.responses.create(model="gpt-5-mini", input="one two")
        yield server


def test_once_as_json(served: Serving, run: Run) -> None:
    done = run("top", "--once", "--json", "--interval", "0.1", "--url", f"{served.url}/v1")
    assert done.returncode == 0, done.stderr
    shown: dict[str, Any] = json.loads(done.stdout)
    assert [(row["name"], row["calls"]) for row in shown["models"]] == [("gpt-5-mini", 1)]
    assert shown["in_flight"] == 1
    assert shown["memory_mb"] > 1


def test_once_as_text(served: Serving, run: Run) -> None:
    done = run("top", "--once", "--interval", "0.1", "--url", served.url)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    for word in ("gpt-5-mini", "local/scripted", "MODEL", "TARGET", "KEY"):
        assert word in done.stdout


def test_on_a_terminal_it_paints_until_it_is_interrupted(served: Serving, environ: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "antiphon", "top", "--interval", "0.1", "--url", served.url]
    painter = subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, env={**environ, "COLUMNS": "60"})
    os.close(theirs)
    seen = b""
    deadline = time.monotonic() + 20
    while seen.count(b"\x1b[H") < 3 and time.monotonic() < deadline:
        seen += os.read(ours, 65536)
    painter.send_signal(signal.SIGINT)
    assert painter.wait(10) == 130
    seen += os.read(ours, 65536)
    os.close(ours)
    assert painter.stderr is not None
    assert painter.stderr.read() == b""
    painter.stderr.close()
    assert seen.startswith(b"\x1b[?1049h")
    assert seen.rstrip().endswith(b"\x1b[?1049l"), "the terminal is given back as it was"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--url", "http://127.0.0.1:1"), "No server answers at http://127.0.0.1:1/metrics"),
        (("--url", "file:///etc/passwd"), "--url must begin with http:// or https://"),
        (("--port", "1"), "No server answers at http://127.0.0.1:1/metrics"),
        (("--port", "0"), "takes any free port"),
    ],
)
def test_what_cannot_be_watched(run: Run, arguments: tuple[str, ...], said: str) -> None:
    done = run("top", "--once", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("antiphon: ")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("readers", "said"), [("admin", "OPENAI_ADMIN_KEY"), ("off", "setting 'metrics' is 'off'")])
def test_a_server_that_does_not_tell(tmp_path: Path, run: Run, readers: str, said: str) -> None:
    with serving(ScriptedEngine(), tmp_path / "quiet", metrics=readers) as served:
        done = run("top", "--once", "--url", served.url)
    assert done.returncode == 1
    assert said in done.stderr
