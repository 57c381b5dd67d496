"""Servers that the whole session shares: each is started at most once, and only if a test needs it."""

from __future__ import annotations

import gc
import random
import signal
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest

from support import certificates, examples, parsing
from support.databases import postgres, postgres_url
from support.quiet import last_lines, quiet
from support.scheduling import longest_first

if TYPE_CHECKING:
    from openai import OpenAI

    from support.checking import Answers
    from support.real import Server

__all__ = ["postgres", "postgres_url"]  # fixtures of the whole suite

# A shell's background jobs ignore Ctrl-C, and so would the programs that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
quiet()
parsing.use()

# Imports stand in the fixtures: most tests need neither the SDK nor a server, and start faster without.


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--shuffle SEED`: no test may need another to have run before it."""
    parser.addoption("--shuffle", type=int, metavar="SEED", help="run the tests in another order, told by this number")


def pytest_configure() -> None:
    """How many examples Hypothesis tries, before any test is collected."""
    examples.use()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Longest files first, or shuffled if that is asked for."""
    longest_first(items)
    seed = config.getoption("--shuffle")
    if seed is not None:
        random.Random(seed).shuffle(items)


def pytest_collection_finish() -> None:
    """What the tests import is imported: no pass of the collector looks at it again, which took a tenth of a second."""
    certificates.share()
    gc.collect()
    gc.freeze()


def pytest_report_header(config: pytest.Config) -> str | None:
    """The seed, so that an order in which something failed can be had again."""
    seed = config.getoption("--shuffle")
    return None if seed is None else f"shuffled: --shuffle {seed}"


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server with a model that answers at once, for what needs no sense."""
    from support.real import launch
    from support.shallow import shallow_model

    model = str(shallow_model())
    with launch(tmp_path_factory.mktemp("small"), "--model", model, "--context", "1024") as server:
        yield server


@pytest.fixture(scope="session")
def coder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server with the default model. The context is small, to bound an answer that goes on and on."""
    from support.real import launch

    with launch(tmp_path_factory.mktemp("coder"), "--context", "1536") as server:
        yield server


@pytest.fixture
def answers() -> Iterator[Answers]:
    """Holds every answer that a test's client gets against the published specifications."""
    from support.checking import Answers

    answers = Answers()
    yield answers
    answers.check()


@pytest.fixture
def client(small: Server, answers: Answers) -> Iterator[OpenAI]:
    """The official SDK, asking the smallest model. Every answer is checked."""
    with answers.client(small) as client:
        yield client


@pytest.fixture
def coder_client(coder: Server, answers: Answers) -> Iterator[OpenAI]:
    """The official SDK, asking the default model. Every answer is checked."""
    with answers.client(coder) as client:
        yield client


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of the log of each server that a failed test had."""
    report = yield
    logged = last_lines() if report.failed or report.when == "teardown" else ""
    if report.failed and logged:
        report.sections.append(("the last that was logged in this process", logged))
    if report.failed and isinstance(item, pytest.Function):
        for name in ("small", "coder"):
            if name in item.funcargs:
                report.sections.append((f"log of the server '{name}'", item.funcargs[name].log()[-4000:]))
    return report
