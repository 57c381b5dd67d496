"""One server and one connection for all of these tests, a log where nothing may be an error, and a meter of its loop.

At the end, nothing may be left of all that the server was asked (`attacked`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from support.databases import Postgres
from support.metered import MOST_DELAY, Collections, StallMeter, most_delay
from support.quiet import quiet
from support.rawhttp import Wire
from support.serving import Serving

from .attacked import Attacked, attacked


@pytest.fixture(scope="package")
def log() -> Iterator[list[Any]]:
    """Everything the server has logged."""
    capture = LogCapture()
    structlog.configure(processors=[capture])
    yield capture.entries
    quiet()


@pytest.fixture(scope="package")
def under_attack(tmp_path_factory: pytest.TempPathFactory, log: list[Any]) -> Iterator[Attacked]:
    """A real server whose model says again what it was told."""
    with attacked(tmp_path_factory.mktemp("hostile")) as server:
        yield server
    _check(log)


@pytest.fixture(scope="package")
def served(under_attack: Attacked) -> Serving:
    """Where it is."""
    return under_attack.served


@pytest.fixture(scope="package")
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


@pytest.fixture(scope="package")
def connection(under_attack: Attacked) -> Iterator[Wire]:
    """A connection with a valid key."""
    with under_attack.wire() as wire:
        yield wire


@pytest.fixture
def wire(connection: Wire, log: list[Any], meter: StallMeter) -> Iterator[Wire]:
    """The connection; afterwards the server must have met nothing unexpected, held up nobody, and must still answer."""
    log.clear()
    meter.worst = 0.0
    yield connection
    _check(log)
    assert meter.worst <= MOST_DELAY or meter.worst <= most_delay()
    assert connection.ask("GET", "/healthz").status == 200


@pytest.fixture(scope="package")
def on_postgres(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, log: list[Any]) -> Iterator[Attacked]:
    """The same on PostgreSQL, and with upstreams that cost money."""
    name = postgres.migrated()
    with attacked(tmp_path_factory.mktemp("hostile"), postgres.url(name), gateway=True) as server:
        yield server
    _check(log)
    postgres.drop(name)


@pytest.fixture
def postgres_wire(on_postgres: Attacked, log: list[Any]) -> Iterator[Wire]:
    """A connection to that one; afterwards it must have met nothing unexpected, and must still answer."""
    log.clear()
    with on_postgres.wire() as wire:
        yield wire
        _check(log)
        assert wire.ask("GET", "/healthz").status == 200


def _check(log: list[Any]) -> None:
    """Nothing that was logged is an error."""
    failed = [entry for entry in log if entry["log_level"] in ("error", "critical")]
    assert not failed, failed
