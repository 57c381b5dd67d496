"""The workers of a database: a row for each server, with a number that it counts up (see `jobs/presence.py`).

No clock is read here. What a worker holds can be claimed once its row is gone. A worker whose row was removed by
mistake adds it again with its next beat, and holds what nobody has claimed meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, delete, literal_column, select, update

from antiphon.stores.query import DatabaseSession, Statement, insertion
from antiphon.stores.section import StoreSection
from antiphon.stores.tables import workers

_ENTER = insertion(workers)
_BEAT = Statement(
    update(workers).where(workers.c.id == bindparam("worker")).values(beat=workers.c.beat + literal_column("1"))
)
_ALL = Statement(select(workers.c.id, workers.c.beat).order_by(workers.c.id))
_REMOVE = Statement(delete(workers).where(workers.c.id == bindparam("worker"), workers.c.beat == bindparam("seen")))
_LEAVE = Statement(delete(workers).where(workers.c.id == bindparam("worker")))
_REMOVE_OTHERS = Statement(delete(workers).where(workers.c.id != bindparam("worker")))


class WorkerSection(StoreSection):
    """Implements `ports.WorkerStore`."""

    async def beat(self, worker: str) -> bool:
        """Say that this worker is there; see `ports`."""
        return await self._database.write(_beat, worker, key=("worker", worker))

    async def workers(self) -> dict[str, int]:
        """All workers that are there, and how far each has counted."""
        return await self._database.read(_workers)

    async def remove_worker(self, worker: str, beat: int) -> bool:
        """Forget a worker, unless it has counted further than `beat`; see `ports`."""
        return await self._database.write(_remove, (worker, beat), key=("worker", worker))

    async def remove_other_workers(self, worker: str) -> None:
        """Forget all workers but this one."""
        await self._database.write(_remove_others, worker, key="workers")

    async def leave(self, worker: str) -> None:
        """This worker is there no more."""
        await self._database.write(_leave, worker, key=("worker", worker))


def _beat(session: DatabaseSession, batch: Sequence[str]) -> list[bool]:
    return [_beat_one(session, worker) for worker in batch]


def _beat_one(session: DatabaseSession, worker: str) -> bool:
    if session.run(_BEAT, {"worker": worker}):
        return True
    session.run(_ENTER, {"id": worker, "beat": 0})
    return False


def _workers(session: DatabaseSession) -> dict[str, int]:
    return {row[0]: row[1] for row in session.all(_ALL, {})}


def _remove(session: DatabaseSession, batch: Sequence[tuple[str, int]]) -> list[bool]:
    return [session.run(_REMOVE, {"worker": worker, "seen": beat}) > 0 for worker, beat in batch]


def _remove_others(session: DatabaseSession, batch: Sequence[str]) -> list[None]:
    for worker in batch:
        session.run(_REMOVE_OTHERS, {"worker": worker})
    return [None] * len(batch)


def _leave(session: DatabaseSession, batch: Sequence[str]) -> list[None]:
    for worker in batch:
        session.run(_LEAVE, {"worker": worker})
    return [None] * len(batch)
