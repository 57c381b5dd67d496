"""How long a response that was refused for the moment waits; whose turn is next; which time sweeps believe."""

from __future__ import annotations

from collections import Counter

import pytest

from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError, EngineFailed, EngineUnavailable, NeverFits, Overloaded, RateLimited
from antiphon.domain.jobs import FreeJob
from antiphon.jobs.fairness import choose, one_suspect
from antiphon.jobs.steady import SteadyTime
from antiphon.run.backoff import pause_after

DAY = 24 * 3600.0
JITTER = 1 + limits.BACKGROUND_JITTER


@pytest.mark.parametrize(
    ("error", "waited", "least", "most"),
    [
        (Overloaded("busy", retry_after=0), 0.0, 0.5, 0.5),
        (Overloaded("busy"), 0.0, 1.0, 1.0),
        (Overloaded("busy"), 4.0, 2.0, 2.0),
        (Overloaded("busy"), 1000.0, 10.0, 10.0),
        (RateLimited("full", retry_after=7), 0.0, 7.0, 7.0),
        (RateLimited("full", retry_after=7), 1000.0, 60.0, 60.0),
        (RateLimited("full", retry_after=10**12), 0.0, 3600.0, 3600.0),
        (EngineUnavailable("gone", retry_after=30), 0.0, 30.0, 30.0),
    ],
)
def test_a_pause_is_as_long_as_asked_for_and_grows(
    error: AntiphonError, waited: float, least: float, most: float
) -> None:
    pauses = {pause_after(error, waited) for _ in range(50)}
    assert all(pause is not None and least <= pause <= most * JITTER for pause in pauses)
    assert len(pauses) > 10  # not all at once


@pytest.mark.parametrize(
    ("error", "waited"),
    [
        (NeverFits("too large"), 0.0),
        (EngineFailed("broken"), 0.0),
        (Overloaded("busy"), limits.MAX_BACKGROUND_WAIT),
        (RateLimited("full"), limits.MAX_BACKGROUND_WAIT),
        (EngineUnavailable("gone"), limits.MAX_BACKGROUND_OUTAGE),
    ],
)
def test_waiting_comes_to_an_end(error: AntiphonError, waited: float) -> None:
    assert pause_after(error, waited) is None


def free(*names: str, priority: int = 0, losses: int = 0) -> list[FreeJob]:
    return [FreeJob(name[0], name, "k", priority, 0, losses) for name in names]


def test_the_project_with_the_fewest_goes_first() -> None:
    waiting = free("a1", "b1", "c1", "a2", "b2", "a3", "a4")
    chosen = [each.id for each in choose(waiting, 4, Counter({"a": 5, "b": 1}), most=64)]
    assert chosen == ["c1", "b1", "b2", "a1"]
    assert [each.id for each in choose(waiting, 9, Counter(), most=64)] == ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]


def test_of_projects_with_equally_many_the_highest_priority_goes_first() -> None:
    waiting = [*free("a1"), *free("b1", priority=5), *free("c1", priority=1)]
    assert [each.id for each in choose(waiting, 2, Counter({"b": 1}), most=64)] == ["c1", "a1"]


def test_one_of_those_that_killed_servers_runs_at_once() -> None:
    waiting = [*free("a1"), *free("a2", "b1", losses=limits.SUSPECT_LOSSES), *free("b2")]
    assert [each.id for each in one_suspect(waiting, running=False)] == ["a1", "a2", "b2"]
    assert [each.id for each in one_suspect(waiting, running=True)] == ["a1", "b2"]


def test_one_project_never_takes_all_the_room() -> None:
    chosen = choose(free("a1", "a2", "a3", "b1"), 9, Counter({"a": 1}), most=2)
    assert sorted(each.id for each in chosen) == ["a1", "b1"]


class FakeClock:
    def __init__(self) -> None:
        self.seconds = 0.0
        self.wall = 1_700_000_000.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.seconds

    def pass_by(self, seconds: float) -> None:
        self.seconds += seconds
        self.wall += seconds


def test_a_clock_that_was_set_forward_is_believed_late_and_backward_at_once() -> None:
    clock = FakeClock()
    steady = SteadyTime(clock)
    began = clock.wall
    clock.pass_by(60)
    assert steady.now() == began + 60
    clock.wall += 2 * DAY
    clock.pass_by(60)
    assert steady.now() == began + 120
    clock.wall -= 2 * DAY
    clock.pass_by(60)
    assert steady.now() == began + 180
    clock.wall -= 2 * DAY
    assert steady.now() == began + 180 - 2 * DAY
    clock.wall += 2 * DAY
    assert steady.now() == began + 180
    clock.wall += 2 * DAY
    assert steady.now() == began + 180
    for _ in range(61):
        clock.pass_by(60)
        now = steady.now()
    assert now == clock.wall
    clock.wall += 20  # drift is no jump
    assert steady.now() == clock.wall
