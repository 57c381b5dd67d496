"""What is heavy on purpose makes the server neither grow nor stand still: `python -m tests.hostile` has the figures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from antiphon.domain.limits import MIB
from support.metered import MeteredStream, metered, most_delay

from . import heavy

#: What a server may grow by while nobody has shown a key.
MOST_MEMORY = 20 * MIB


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeteredStream]:
    with metered(tmp_path_factory.mktemp("heavy")) as server:
        yield server


@pytest.fixture(scope="module")
def bound() -> float:
    return most_delay()


@pytest.mark.parametrize("name", heavy.KEYLESS)
def test_nobody_without_a_key_makes_the_server_grow(server: MeteredStream, name: str) -> None:
    with heavy.growth(server) as most:
        heavy.attack(server.url, *heavy.KEYLESS[name], most=8 * MIB)
    assert most[0] <= MOST_MEMORY


@pytest.mark.parametrize("name", heavy.BODIES)
def test_no_request_makes_others_wait(server: MeteredStream, bound: float, name: str) -> None:
    # Once more if it was too long: the processor time that is measured is also that of other threads.
    worst = min(stall for *_, stall in heavy.measured(server, [name] * 3, until=bound))
    assert worst <= bound


def test_what_is_answered_is_given_back(server: MeteredStream) -> None:
    """Memory after large bodies is what it was, but for what allocators keep."""
    path, make = heavy.BODIES["a long chat"]
    body = make()
    heavy.ask(server, path, body)
    before = server.memory()
    for _ in range(2):
        assert heavy.ask(server, path, body).status == 200
    assert server.memory() - before < 200 * MIB
