"""A server whose engine says what each test tells it to, and a connection to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.rawhttp import Wire
from support.serving import Serving, serving
from support.streams import Told


@pytest.fixture(scope="module")
def engine() -> Told:
    return Told()


@pytest.fixture(scope="module")
def served(engine: Told, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(engine, tmp_path_factory.mktemp("streams")) as server:
        yield server


@pytest.fixture
def wire(served: Serving, engine: Told) -> Iterator[Wire]:
    with Wire(served.url, served.headers) as connection:
        yield connection
    assert not engine.scripts, "the engine was not asked as often as the test meant to"
    assert not engine.refusals
