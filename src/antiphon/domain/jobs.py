"""Jobs: work that outlives the request that asked for it.

A job is a row. It is written in the transaction that writes what it is about, and from then on somebody does it,
whatever happens to servers:

    queued ──claim──▶ running ──▶ done        it has a result, which can be read for a while
      ▲                 │  │  └──▶ cancelled   nobody wanted it any more
      │                 │  └─────▶ dead        it was given up: too many attempts failed, or too many servers died of it
      └── put back ─────┘           │
      ▲                             │
      └──────── asked to run again ─┘

- *Claim*: a worker (a server, see `jobs/presence.py`) takes a job and holds it for as long as that worker is alive.
  Each claim counts `attempts` up. Holder and attempts together name the claim. Every write for a job must name them, so
  a worker that was suspended, and whose job was taken over, can write nothing more (`LeaseLost`).
- *Put back*: the job waits until `run_at` and takes no place meanwhile. Either it has asked for that itself (what it
  needs is busy), or its attempt has failed, or its server stops. Only failed attempts are counted, in `failures`.
- A running job whose worker has died can be claimed by another one. That is counted in `losses`: a job that kills its
  workers is given up, too.
- *Cancel* is a request. A queued job ends at its next claim, which waits for no pause and takes no place; a running one
  is told to stop.

All times of jobs are the database's: it sets them, and it compares them. Milliseconds since 1970. A clock that is set
back makes no job wait longer than its pause: a `run_at` further ahead than the pause was long is due at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from antiphon.domain import limits
from antiphon.domain.ids import new_id

JobState = Literal["queued", "running", "done", "cancelled", "dead"]
#: How a job can end.
Ended = Literal["done", "cancelled", "dead"]

#: The states to which each state can change.
TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    "queued": frozenset({"running"}),
    "running": frozenset({"queued", "running", "done", "cancelled", "dead"}),
    "done": frozenset(),
    "cancelled": frozenset(),
    "dead": frozenset({"queued"}),
}
OPEN: frozenset[JobState] = frozenset({"queued", "running"})

#: The kind of job that makes a background response. It has the response's id.
RESPONSE = "response"


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be done. `payload` is what its kind needs to do it; the other members have names of `Job`.

    `delay`: seconds before which it is not begun. `dedupe_key`: while a job of this project and kind with the same key
    has not ended, no second one is made.
    """

    project_id: str
    kind: str
    payload: bytes
    id: str = field(default_factory=lambda: new_id("job_"))
    priority: int = 0
    delay: float = 0.0
    max_attempts: int = limits.MAX_JOB_TRIES
    dedupe_key: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is stored. Times are Unix milliseconds by the database's clock.

    `priority`: of one project's jobs of one kind, those with the highest go first. `attempts`: how often it was
    claimed; `failures`: how many attempts failed; `losses`: how often its worker was gone. `max_attempts`: with so many
    failures it is given up. `waited`: all pauses that it has asked for, in milliseconds. `progress` and `result` are
    its kind's; `error` is what the last failed attempt said, or why it is dead.
    """

    project_id: str
    id: str
    kind: str
    state: JobState
    priority: int
    run_at: int
    attempts: int
    failures: int
    losses: int
    max_attempts: int
    waited: int
    holder: str | None
    cancel_requested: bool
    dedupe_key: str | None
    created_at: int
    finished_at: int | None
    error: str | None
    progress: bytes | None
    result: bytes | None
    payload: bytes

    @property
    def name(self) -> tuple[str, str]:
        """(project, id)."""
        return self.project_id, self.id


class FreeJob(NamedTuple):
    """A job that can be claimed, as it was seen. `attempts` tells at the claim whether it still is so."""

    project_id: str
    id: str
    kind: str
    priority: int
    attempts: int
    losses: int

    @property
    def name(self) -> tuple[str, str]:
        """(project, id)."""
        return self.project_id, self.id


@dataclass(frozen=True, slots=True)
class PutBack:
    """How a job goes back to the queue. `pause`: seconds before it is begun again.

    `error`: the attempt has failed with this, which is counted. None: it waits because it has asked to (`waits`), or
    its server stops. `payload`, where given, replaces the stored one.
    """

    pause: float = 0.0
    error: str | None = None
    waits: bool = False
    payload: bytes | None = None


@dataclass(frozen=True, slots=True)
class End:
    """How a job ends."""

    state: Ended
    result: bytes | None = None
    error: str | None = None


class JobCount(NamedTuple):
    """How many jobs of a kind are in a state."""

    kind: str
    state: JobState
    number: int
