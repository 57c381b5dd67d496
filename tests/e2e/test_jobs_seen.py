"""What whoever runs a server sees of its jobs: how many there are, which were given up, when sweeps last ran."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from antiphon.domain import limits
from e2e.test_background import until_ended
from e2e.test_background_poison import JOB, STEPS, engine, left_behind, spoil
from support.gate import until
from support.inside import in_store
from support.rawhttp import Wire
from support.serving import Serving, other_project, serving


def gauge(served: Serving, name: str) -> dict[tuple[str, ...], float]:
    """A metric's figures by its labels' values."""
    with Wire(served.url, {}) as wire:
        text = wire.ask("GET", "/metrics").body.decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    return {tuple(sample.labels.values()): sample.value for sample in families[name].samples}


def test_a_job_that_was_given_up_is_seen_and_can_be_asked_to_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "JOB_COUNT_TICK", 0.02)
    url = f"sqlite:///{tmp_path / 'antiphon.db'}"
    fine, poison = left_behind(tmp_path, url, 2)
    spoil(url, JOB.format("payload = :bad"), id=poison, bad=b"{broken")
    began = time.time()
    with serving(engine(*STEPS), tmp_path, database=url) as served:
        client = served.client()
        assert until_ended(client, fine).status == "completed"
        assert until_ended(client, poison).status == "failed"

        def states() -> dict[tuple[str, ...], float]:
            return gauge(served, "antiphon_jobs")

        until(lambda: states().get(("response", "dead")) == 1, "it is counted")
        assert states()["response", "running"] == states()["response", "queued"] == 0
        [dead] = in_store(served, lambda store: store.list_jobs(state="dead", limit=9))
        assert (dead.id, dead.kind) == (poison, "response")
        assert dead.error == "What was stored of this response cannot be read."
        sweeps = gauge(served, "antiphon_sweep_last_run_seconds")
        assert {"expired", "ledger", "reservations", "idempotency_keys"} <= {name for (name,) in sweeps}
        until(lambda: all(gauge(served, "antiphon_sweep_last_run_seconds").values()), "each has run")
        assert min(gauge(served, "antiphon_sweep_last_run_seconds").values()) > began - 60
        # Its response has ended, so nothing is left to be done.
        assert in_store(served, lambda store: store.retry_job(dead.project_id, dead.id))
        until(lambda: ("response", "dead") not in states() or not states()["response", "dead"], "it has ended")
        assert client.responses.retrieve(poison).status == "failed"
        client.responses.delete(poison)
        assert in_store(served, lambda store: store.list_jobs(limit=9)) == []


def test_a_project_can_have_only_so_many_that_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BACKGROUND", 0)  # so that nobody begins with them
    monkeypatch.setattr(limits, "MAX_JOBS_OF_PROJECT", 2)
    with serving(engine(*STEPS), tmp_path) as served:
        client = served.client()
        ask: dict[str, Any] = {"model": "gpt-5-mini", "input": "hi", "background": True}
        waiting = [client.responses.create(**ask) for _ in range(2)]
        talk = client.conversations.create()
        with pytest.raises(openai.RateLimitError) as refused:
            client.responses.create(**ask, conversation=talk.id)
        assert refused.value.code == "rate_limit_exceeded"
        assert refused.value.response.headers["retry-after"] == "60"
        # It holds nothing: neither the conversation, nor anything stored.
        assert client.responses.create(model="gpt-5-mini", input="hi", conversation=talk.id).status == "completed"
        other = openai.OpenAI(base_url=served.base_url, api_key=other_project(served), max_retries=0)
        assert other.responses.create(**ask).status == "queued"
        client.responses.delete(waiting[0].id)
        assert client.responses.create(**ask).status == "queued"
