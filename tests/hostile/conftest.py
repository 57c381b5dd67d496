"""One server and one connection for the whole suite, and a log in which nothing may be an error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from antiphon.engines.scripted import ScriptedEngine
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
def connection(served: Serving) -> Iterator[Wire]:
    """A connection with a valid key."""
    with Wire(served.url, served.headers) as wire:
        yield wire


@pytest.fixture
def wire(connection: Wire, log: list[Any]) -> Iterator[Wire]:
    """The connection; afterwards the server must have met nothing unexpected, and must still answer."""
    log.clear()
    yield connection
    failed = [entry for entry in log if entry["log_level"] in ("error", "critical")]
    assert not failed, failed
    assert connection.ask("GET", "/healthz").status == 200
