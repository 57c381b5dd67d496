"""One server and one connection for the whole suite, a log where nothing may be an error, and a meter of its loop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from antiphon.engines.scripted import ScriptedEngine
from support.metered import MOST_DELAY, Collections, StallMeter, most_delay
from support.quiet import quiet
from support.rawhttp import Wire
from support.serving import Serving, serving


@pytest.fixture(scope="session")
def log() -> Iterator[list[Any]]:
    """Everything the server has logged."""
    capture = LogCapture()
    structlog.configure(processors=[capture])
    yield capture.entries
    quiet()


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, log: list[Any]) -> Iterator[Serving]:
    """A real server whose model says again what it was told."""
    with serving(ScriptedEngine(), tmp_path_factory.mktemp("hostile")) as server:
        yield server


@pytest.fixture(scope="session")
def meter(served: Serving) -> Iterator[StallMeter]:
    """How long the server's loop is held up by what its own thread does."""
    # The collector looks at all that this process holds, and most of that belongs to the tests. What the server's own
    # garbage costs is measured where it has a process of its own (`metered`).
    collections = Collections()
    collections.start()
    meter = StallMeter(time.thread_time, collections.used)
    served.call(meter.start)
    yield meter
    collections.stop()


@pytest.fixture(scope="session")
def connection(served: Serving) -> Iterator[Wire]:
    """A connection with a valid key."""
    with Wire(served.url, served.headers) as wire:
        yield wire


@pytest.fixture
def wire(connection: Wire, log: list[Any], meter: StallMeter) -> Iterator[Wire]:
    """The connection; afterwards the server must have met nothing unexpected, held up nobody, and must still answer."""
    log.clear()
    meter.worst = 0.0
    yield connection
    failed = [entry for entry in log if entry["log_level"] in ("error", "critical")]
    assert not failed, failed
    assert meter.worst <= MOST_DELAY or meter.worst <= most_delay()
    assert connection.ask("GET", "/healthz").status == 200
