"""Whose job is begun next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from antiphon.domain import limits
from antiphon.domain.jobs import FreeJob


def choose(free: Iterable[FreeJob], room: int, running: Counter[str], *, most: int) -> list[FreeJob]:
    """Up to `room` of these: always one of the project of which the fewest run, so none waits for another's many.

    Of projects with equally many, the one with the highest priority at its head. `free`: in each project's own order.
    `running`: how many of each project run; it is counted further. `most`: of one project.
    """
    waiting: dict[str, list[FreeJob]] = {}
    for each in free:
        waiting.setdefault(each.project_id, []).append(each)
    for queue in waiting.values():
        queue.reverse()
    chosen: list[FreeJob] = []
    while waiting and len(chosen) < room:
        project_id = min(waiting, key=lambda name: (running[name], -waiting[name][-1].priority))
        if running[project_id] >= most:
            break
        chosen.append(waiting[project_id].pop())
        running[project_id] += 1
        if not waiting[project_id]:
            del waiting[project_id]
    return chosen


def one_suspect(free: Iterable[FreeJob], *, running: bool) -> list[FreeJob]:
    """Without what has killed workers several times, but for one of these if none is `running`.

    If the worker dies again, it is clear which job is the cause; those that only ran beside it come to no harm.
    """
    kept = []
    for each in free:
        suspect = each.losses >= limits.SUSPECT_LOSSES
        if not (suspect and running):
            kept.append(each)
        running = running or suspect
    return kept
