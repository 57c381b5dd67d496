"""Rows that cannot be read, or that break whoever reads them, harm nobody but themselves."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from antiphon.domain import limits
from antiphon.engines.scripted import ScriptedEngine
from antiphon.ports import Capabilities
from antiphon.protocol.generation import Finish, TextDelta, Usage
from antiphon.run.response_job import ResponseJob
from antiphon.stores.store import SqlStore
from conformance.spec import check_response
from e2e.test_background import until_ended
from support.gate import ScriptGate, until
from support.inside import store_at
from support.serving import serving

STEPS = [TextDelta("a"), TextDelta("b"), Finish("stop", Usage(1, 0, 2))]


def engine(*steps: Any) -> ScriptedEngine:
    return ScriptedEngine(lambda _: steps, capabilities=Capabilities(context_tokens=10_000, continues=True))


def left_behind(path: Path, url: str, count: int = 3) -> list[str]:
    """Ids of background responses that a server has left in the middle."""
    gate = ScriptGate()
    with serving(engine(TextDelta("a"), gate.step(), *STEPS[1:]), path, database=url) as served:
        sdk = served.client()
        made = [sdk.responses.create(model="gpt-5-mini", input="hi", background=True).id for _ in range(count)]
        until(lambda: store_at(url, lambda store: store._database.read(_begun)) == count, "each has said something")
    return made


def _begun(session: Any) -> int:
    session._cursor.execute("SELECT count(DISTINCT response_id) FROM response_events WHERE first >= 3", {})
    return int(session._cursor.fetchall()[0][0])


def spoil(url: str, sql: str, **values: object) -> None:
    """Change what is stored, as no part of the server would."""

    def run(session: Any, batch: list[None]) -> list[None]:
        dialect = session._dialect.name
        for name in values if dialect == "postgresql" else ():
            nonlocal sql
            sql = sql.replace(f":{name}", f"%({name})s")
        session._cursor.execute(sql, values)
        assert session._cursor.rowcount == 1, "nothing was spoilt"
        return [None] * len(batch)

    async def write(store: SqlStore) -> None:
        await store._database.write(run, None, key="spoil")

    store_at(url, write)


ROW = "UPDATE responses SET {} WHERE id = :id"
JOB = "UPDATE jobs SET {} WHERE id = :id"
EVENT = (
    "{} response_events {} WHERE response_id = :id"
    " AND first = (SELECT {}(first) FROM response_events WHERE response_id = :id)"
)
SPOILT = {
    "its object is no JSON": (ROW.format("body = :bad"), {"bad": b"{broken"}),
    "its object is another thing": (ROW.format("body = :bad"), {"bad": b"[1]"}),
    "its object is no text": (ROW.format("body = :bad"), {"bad": b"\xff\xfe\x00"}),
    "its request is no JSON": (JOB.format("payload = :bad"), {"bad": b"{broken"}),
    "its request is another thing": (JOB.format("payload = :bad"), {"bad": b'{"body":[],"extra":1}'}),
    "its request is gone": (JOB.format("payload = :bad"), {"bad": b""}),
    "its request asks for what there is not": (
        JOB.format("payload = :bad"),
        {"bad": b'{"body":{"model":"gone","input":"hi"},"extra":{}}'},
    ),
    "an event is no JSON": (EVENT.format("UPDATE", "SET payload = :bad", "max"), {"bad": b"event: x\ndata: {\n\n"}),
    "an event is of no response": (
        EVENT.format("UPDATE", "SET payload = :bad", "max"),
        {"bad": b'event: x\ndata: {"type":7}\n\n'},
    ),
    "the engine's note is broken": (EVENT.format("UPDATE", "SET progress = :bad", "max"), {"bad": b"\xc1"}),
    "its first events are gone": (EVENT.format("DELETE FROM", "", "min"), {}),
    "its times are far ahead": (
        JOB.format("created_at = 9999999999999, run_at = 9999999999999, holder = NULL, state = 'queued'"),
        {},
    ),
}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'antiphon.db'}"
    return str(request.getfixturevalue("postgres_url"))


def test_spoilt_rows_fail_and_the_others_are_made(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LEASE", 0.5)
    made = left_behind(tmp_path, url, len(SPOILT) + 2)
    for response_id, (sql, values) in zip(made, SPOILT.values(), strict=False):
        spoil(url, sql, id=response_id, **values)
    with serving(engine(*STEPS), tmp_path, database=url) as served:
        sdk = served.client(timeout=10)
        # What is stored is shown as it is, so those would be no JSON before somebody has looked at them.
        until(lambda: _unfinished_at(url) == 0, "all have ended")
        ends = {why: until_ended(sdk, each) for why, each in zip(SPOILT, made, strict=False)}
        for each in made[len(SPOILT) :]:
            assert until_ended(sdk, each).output_text == "ab"
        fine = ends.pop("its times are far ahead")
        assert (fine.status, fine.output_text) == ("completed", "ab")
        for why, response in ends.items():
            assert response.status == "failed", why
            check_response(response.model_dump(exclude_unset=True))
        # New ones are made, and those that failed can be followed to their end, or say why not.
        new = sdk.responses.create(model="gpt-5-mini", input="hi", background=True)
        assert until_ended(sdk, new.id).status == "completed"
        events = list(sdk.responses.retrieve(made[0], stream=True))
        assert events[-1].type == "response.failed"
        for response_id in made:
            sdk.responses.delete(response_id)


def test_a_gap_in_a_log_is_not_passed_over(tmp_path: Path, url: str) -> None:
    [made] = left_behind(tmp_path, url, 1)
    gap = EVENT.format("DELETE FROM", "", "max").replace("max(first)", "max(first) - 1")
    spoil(url, gap.replace("AND first =", "AND first <> 0 AND first <="), id=made)
    with serving(engine(*STEPS), tmp_path, database=url) as served:
        sdk = served.client(timeout=10)
        assert until_ended(sdk, made).status == "failed"
        with pytest.raises((openai.APIError, openai.APIConnectionError)):
            list(sdk.responses.retrieve(made, stream=True))


def test_a_job_that_breaks_again_and_again_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LEASE", 0.1)
    tries = []

    async def broken(job: ResponseJob) -> None:
        tries.append(time.monotonic())
        raise LookupError("a bug")

    monkeypatch.setattr(ResponseJob, "_make", broken)
    with serving(engine(*STEPS), tmp_path) as served:
        made = served.client().responses.create(model="gpt-5-mini", input="hi", background=True)
        failed = until_ended(served.client(), made.id)
        assert failed.status == "failed"
        assert len(tries) == limits.MAX_JOB_TRIES
        assert "bug" not in failed.error.message


def test_what_was_taken_without_being_told_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database took a claim, a start or an end, and did not say so."""
    monkeypatch.setattr(limits, "LEASE", 0.2)
    lost: list[str] = []

    def loses(name: str, once: Callable[..., bool]) -> None:
        real = getattr(SqlStore, name)

        async def work(store: SqlStore, *args: Any, **options: Any) -> Any:
            result = await real(store, *args, **options)
            if name not in lost and once(*args):
                lost.append(name)
                raise TimeoutError
            return result

        monkeypatch.setattr(SqlStore, name, work)

    loses("claim_jobs", lambda owner, free: bool(free))
    loses("put_response", lambda response, *_: response.status == "in_progress")
    with serving(engine(*STEPS), tmp_path) as served:
        sdk = served.client()
        made = sdk.responses.create(model="gpt-5-mini", input="hi", background=True)
        assert until_ended(sdk, made.id).status == "completed"
        with pytest.raises(openai.APIError):
            list(sdk.responses.create(model="gpt-5-mini", input="hi", stream=True))
        assert lost == ["claim_jobs", "put_response"]
        database = served.settings.database
        until(lambda: _unfinished_at(database) == 0, "what nobody makes any more has failed")


def _unfinished_at(url: str) -> int:
    return store_at(url, lambda store: store._database.read(_unfinished))


def _unfinished(session: Any) -> int:
    session._cursor.execute("SELECT count(*) FROM responses WHERE status IN ('queued', 'in_progress')", {})
    return int(session._cursor.fetchall()[0][0])
