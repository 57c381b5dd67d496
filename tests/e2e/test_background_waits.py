"""Background responses that are refused for the moment: they wait outside, come back, and do not wait for ever."""

from __future__ import annotations

import time
from pathlib import Path

import openai
import pytest

from antiphon.domain import limits
from antiphon.domain.errors import EngineUnavailable, Overloaded, RateLimited
from antiphon.engines.scripted import ScriptedEngine
from antiphon.ports import Capabilities
from antiphon.protocol.generation import Finish, Generation, Message, TextDelta, Usage
from antiphon.stores.store import SqlStore
from support.gate import until
from support.inside import in_store
from support.serving import other_project, serving

STOP = Finish("stop", Usage(1, 0, 2))


class Refusing:
    """Refuses generations whose prompt says so, with `error`, and notes when it was asked."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.refuses = True
        self.asked: list[float] = []
        self.engine = ScriptedEngine(
            lambda _: [TextDelta("done"), STOP],
            capabilities=Capabilities(context_tokens=10_000, continues=True),
            admit=self._admit,
        )

    def _admit(self, generation: Generation) -> None:
        said = "".join(turn.text for turn in generation.turns if isinstance(turn, Message))
        if "refuse" in said and self.refuses and generation.streamed:
            self.asked.append(time.monotonic())
            raise self.error


def make(client: openai.OpenAI, text: str) -> str:
    return client.responses.create(model="gpt-5-mini", input=text, background=True).id


def status(client: openai.OpenAI, response_id: str) -> str | None:
    return client.responses.retrieve(response_id).status


def test_what_waits_for_a_rate_limit_takes_no_place(tmp_path: Path) -> None:
    refusing = Refusing(RateLimited("Too many.", retry_after=30))
    with serving(refusing.engine, tmp_path) as served:
        client = served.client()
        waiting = [make(client, "refuse") for _ in range(limits.MAX_BACKGROUND + 10)]
        other = openai.OpenAI(base_url=served.base_url, api_key=other_project(served), max_retries=0)
        response_id = make(other, "go")
        until(lambda: status(other, response_id) == "completed", "another project's response")
        until(lambda: len(refusing.asked) == len(waiting), "each was tried once")
        own = make(client, "go")
        until(lambda: status(client, own) == "completed", "the project's own next response")
        assert {status(client, each) for each in waiting} == {"queued"}
        assert len(refusing.asked) == len(waiting), "it was told to wait for 30 seconds"
        # To cancel one takes no time, either.
        assert client.responses.cancel(waiting[0]).status == "cancelled"


def test_it_comes_back_when_it_was_told_to_and_is_one_call(tmp_path: Path) -> None:
    refusing = Refusing(RateLimited("Too many.", retry_after=1))
    with serving(refusing.engine, tmp_path) as served:
        client = served.client()
        response_id = make(client, "refuse")
        until(lambda: len(refusing.asked) == 2, "the second try")
        first, second = refusing.asked[:2]
        assert second - first >= 0.999
        refusing.refuses = False
        until(lambda: status(client, response_id) == "completed", "it is made in the end")
        events = list(client.responses.retrieve(response_id, stream=True))
        assert [event.type for event in events][:3] == [
            "response.created",
            "response.queued",
            "response.in_progress",
        ]

    async def rows(store: SqlStore) -> int:
        return len(await store._database.read(lambda session: session._cursor.execute(COUNT, {}).fetchall()))

    assert in_store(served, rows) == 1, "however often it was tried, it is one call"


COUNT = "SELECT 1 FROM ledger WHERE endpoint = '/v1/responses'"


@pytest.mark.parametrize(
    ("error", "limit", "code"),
    [
        (RateLimited("Too many for today."), "MAX_BACKGROUND_WAIT", "rate_limit_exceeded"),
        (Overloaded("The queue is full."), "MAX_BACKGROUND_WAIT", "server_error"),
        (EngineUnavailable("No server is there.", retry_after=1), "MAX_BACKGROUND_OUTAGE", "server_error"),
    ],
)
def test_waiting_ends_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, limit: str, code: str
) -> None:
    monkeypatch.setattr(limits, limit, 0.5)
    with serving(Refusing(error).engine, tmp_path) as served:
        client = served.client()
        response_id = make(client, "refuse")
        until(lambda: status(client, response_id) == "failed", "it fails")
        failed = client.responses.retrieve(response_id)
        assert failed.error is not None
        assert (failed.error.code, failed.error.message) == (code, str(error))


def test_a_server_that_is_started_again_goes_on_waiting(tmp_path: Path) -> None:
    refusing = Refusing(RateLimited("Too many.", retry_after=2))
    with serving(refusing.engine, tmp_path) as served:
        response_id = make(served.client(), "refuse")
        until(lambda: len(refusing.asked) == 1, "the first try")
    with serving(refusing.engine, tmp_path) as served:
        refusing.refuses = False
        until(lambda: status(served.client(), response_id) == "completed", "it is made in the end")
