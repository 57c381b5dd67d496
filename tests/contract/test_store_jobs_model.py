"""Jobs against a model of them: whatever workers do in whatever order, each job is in a state that it may be in."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.domain import limits
from antiphon.domain.errors import LeaseLost
from antiphon.domain.jobs import OPEN, TRANSITIONS, End, Job, JobState, NewJob, PutBack
from antiphon.stores.store import SqlStore
from contract.store_kit import ONE, run
from support.examples import examples

_numbers = itertools.count()
_jobs = st.integers(0, 3)
_workers = st.sampled_from("ab")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), _jobs, _workers),
        st.tuples(st.just("claim"), _jobs, _workers),
        st.tuples(st.just("die"), _jobs, _workers),
        st.tuples(st.sampled_from(["put back", "fail", "done", "dead", "cancelled", "note"]), _jobs, _workers),
        st.tuples(st.sampled_from(["cancel", "retry"]), _jobs, _workers),
    ),
    max_size=30,
)


@dataclass
class Model:
    """What a job must be."""

    state: JobState = "queued"
    holder: str | None = None
    attempts: int = 0
    failures: int = 0
    losses: int = 0
    cancelled: bool = False

    def becomes(self, state: JobState) -> None:
        assert state in TRANSITIONS[self.state], (self.state, state)
        self.state = state
        self.holder = self.holder if state == "running" else None


class Course:
    """One order of things, on the store and on the model."""

    def __init__(self, store: SqlStore) -> None:
        self.store = store
        self.run = next(_numbers)
        self.kind = f"k{self.run}"
        self.models: dict[str, Model] = {}
        #: What each worker believes to hold, however long ago it was taken from it.
        self.claims: dict[tuple[str, str], Job] = {}
        self.there: set[str] = set()

    async def step(self, what: str, number: int, letter: str) -> None:
        name, worker = f"job_{self.run}_{number}", f"{letter}{self.run}"
        if what == "add":
            if name not in self.models:
                await self.store.enqueue_job(NewJob(ONE, self.kind, b"{}", id=name, max_attempts=9))
                self.models[name] = Model()
        elif what == "die":
            await self.store.leave(worker)
            self.there.discard(worker)
        elif what == "claim":
            await self.claim(worker)
        elif name in self.models:
            await self.change(what, name, worker)

    async def claim(self, worker: str) -> None:
        await self.store.beat(worker)
        self.there.add(worker)
        free = await self.store.free_jobs(self.kind, each=2, limit=2)
        assert [each.id for each in free] == self.expected()
        for job in await self.store.claim_jobs(worker, free):
            model = self.models[job.id]
            model.becomes("running")
            model.losses += model.holder is not None
            model.holder, model.attempts = worker, model.attempts + 1
            self.claims[job.id, worker] = job

    def expected(self) -> list[str]:
        """What may be claimed: at most two of each sort, in the order in which they were added."""
        free = {
            name: model
            for name, model in self.models.items()
            if model.state in OPEN and (model.holder is None or model.holder not in self.there)
        }
        sorts = [
            [name for name, model in free.items() if model.cancelled],
            [name for name, model in free.items() if model.holder is not None],
            [name for name, model in free.items() if model.holder is None and model.losses < limits.SUSPECT_LOSSES],
            [name for name, model in free.items() if model.holder is None and model.losses >= limits.SUSPECT_LOSSES],
        ]
        return list(dict.fromkeys(name for sort in sorts for name in sort[:2]))

    async def change(self, what: str, name: str, worker: str) -> None:
        model = self.models[name]
        if what == "cancel":
            assert await self.store.cancel_job(ONE, name) == (model.state in OPEN)
            model.cancelled = model.cancelled or model.state in OPEN
        elif what == "retry":
            assert await self.store.retry_job(ONE, name) == (model.state == "dead")
            if model.state == "dead":
                model.becomes("queued")
                model.failures, model.losses, model.cancelled = 0, 0, False
        elif (name, worker) in self.claims:
            await self.write(what, self.claims[name, worker], model)

    async def write(self, what: str, job: Job, model: Model) -> None:
        """What a worker writes that may have lost its claim long ago."""
        mine = model.state == "running" and (model.holder, model.attempts) == (job.holder, job.attempts)
        try:
            await self._write(what, job)
        except LeaseLost:
            assert not mine
            return
        assert mine
        if what in {"put back", "fail"}:
            model.becomes("queued")
            model.failures += what == "fail"
        elif what != "note":
            model.becomes(what)  # type: ignore[arg-type]  # the name of the state

    async def _write(self, what: str, job: Job) -> None:
        if what == "note":
            await self.store.note_progress(job, b"1")
        elif what in {"put back", "fail"}:
            await self.store.put_back_job(job, PutBack(error="no" if what == "fail" else None))
        else:
            await self.store.end_job(job, End(what))  # type: ignore[arg-type]  # the name of the state

    async def compare(self) -> None:
        for name, model in self.models.items():
            job = await self.store.get_job(ONE, name)
            assert job is not None
            seen = Model(job.state, job.holder, job.attempts, job.failures, job.losses, job.cancel_requested)
            assert seen == model
            assert (job.finished_at is None) == (job.state in OPEN)
            assert (job.payload == b"") == (job.state in {"done", "cancelled"})


@settings(max_examples=examples(125), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_each_job_is_what_the_model_says(url: str, steps: list[tuple[str, int, str]]) -> None:
    async def test(store: SqlStore) -> None:
        course = Course(store)
        for step in steps:
            await course.step(*step)
            await course.compare()

    run(url, test)
