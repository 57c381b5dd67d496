"""The circuit breaker: a state machine under random histories, and each of its rules by name."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from antiphon.domain import limits
from antiphon.engines.routed.breaker import Breaker
from support.examples import examples


class Histories(RuleBasedStateMachine):
    """Calls that begin, succeed, fail and are left at random, beside what must be true of the breaker then."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.breaker = Breaker()
        #: Calls under way: whether each is a probe, and since when.
        self.calls: list[tuple[bool, float]] = []
        self.failed_in_a_row = 0

    @rule(seconds=st.floats(0.0, 70.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.breaker.admits(self.now))
    @rule()
    def call(self) -> None:
        state = self.breaker.state(self.now)
        probe = self.breaker.enter(self.now)
        assert probe == (state == "half_open")
        self.calls.append((probe, self.now))
        if probe:
            assert not self.breaker.admits(self.now), "one probe at a time"

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        probe, _ = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        self.breaker.succeeded(self.now)
        self.failed_in_a_row = 0
        assert self.breaker.state(self.now) == "closed"
        if probe:
            assert self.breaker.admits(self.now)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        probe, _ = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        before = self.breaker.state(self.now)
        self.breaker.failed(self.now, probe=probe)
        self.failed_in_a_row += 1
        after = self.breaker.state(self.now)
        if before == "closed" and self.failed_in_a_row >= limits.BREAKER_FAILURES:
            assert after == "open"
        if before == "half_open":
            assert after == ("open" if probe else "half_open"), "only a probe tells something new"
        if after == "closed":
            assert self.failed_in_a_row < limits.BREAKER_FAILURES

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        probe, _ = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        before = self.breaker.state(self.now)
        self.breaker.abandoned(probe=probe)
        assert self.breaker.state(self.now) == before

    @invariant()
    def never_shut_for_ever(self) -> None:
        opens = self.breaker.opens_at(self.now)
        assert self.now <= opens <= self.now + max(limits.BREAKER_OPEN_MAX, limits.BREAKER_PROBE)
        assert self.breaker.admits(opens)
        assert self.breaker.admits(self.now) == (opens == self.now)
        if self.breaker.state(self.now) == "closed":
            assert self.breaker.admits(self.now)


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=examples(60), stateful_step_count=40, deadline=None)


def broken(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(limits.BREAKER_FAILURES):
        assert breaker.state(now) == "closed"
        breaker.enter(now)
        breaker.failed(now)
    return breaker


def test_opens_after_failures_in_a_row_and_admits_nothing() -> None:
    breaker = broken()
    assert breaker.state(0.0) == "open"
    assert not breaker.admits(limits.BREAKER_OPEN - 0.01)
    assert breaker.admits(limits.BREAKER_OPEN)
    assert breaker.state(limits.BREAKER_OPEN) == "half_open"


def test_opens_for_a_rate_of_failures_without_many_in_a_row() -> None:
    breaker = Breaker()
    calls = 0
    while breaker.state(calls * 0.1) == "closed":
        assert calls < 2 * limits.BREAKER_SAMPLES
        (breaker.failed if calls % 2 else breaker.succeeded)(calls * 0.1)
        calls += 1
    assert calls == limits.BREAKER_SAMPLES


def test_forgets_failures_of_long_ago() -> None:
    breaker = Breaker()
    now = 0.0
    for number in range(10 * limits.BREAKER_SAMPLES):
        (breaker.failed if number % 2 else breaker.succeeded)(now)
        now += limits.BREAKER_WINDOW / 10
        assert breaker.state(now) == "closed", "there were never enough calls in the window to tell"


def test_each_probe_that_fails_doubles_the_wait_up_to_a_limit() -> None:
    breaker, now, wait = broken(), 0.0, limits.BREAKER_OPEN
    for _ in range(8):
        now = breaker.opens_at(now)
        assert breaker.enter(now)
        breaker.failed(now, probe=True)
        wait = min(wait * 2, limits.BREAKER_OPEN_MAX)
        assert breaker.opens_at(now) == now + wait
    assert wait == limits.BREAKER_OPEN_MAX


def test_a_probe_that_is_never_heard_of_again_makes_room_for_another() -> None:
    breaker = broken()
    assert breaker.enter(10.0)
    assert not breaker.admits(10.0 + limits.BREAKER_PROBE - 0.01)
    assert breaker.admits(10.0 + limits.BREAKER_PROBE)


def test_a_probe_that_is_left_makes_room_at_once() -> None:
    breaker = broken()
    assert breaker.enter(10.0)
    breaker.abandoned(probe=True)
    assert breaker.admits(10.0)


def test_a_call_from_before_it_opened_is_not_taken_for_the_probe() -> None:
    breaker = broken()
    assert breaker.enter(10.0)
    breaker.failed(11.0)
    assert breaker.state(11.0) == "half_open"
    assert not breaker.admits(11.0), "the probe is still out"
    breaker.failed(12.0, probe=True)
    assert breaker.opens_at(12.0) == 12.0 + 2 * limits.BREAKER_OPEN


def test_a_probe_s_time_is_over_when_it_says_so_whatever_the_rounding() -> None:
    breaker = broken()
    for start in (5.854758585035283, 1005.1, 1234.5678901234567):
        assert breaker.enter(start)
        assert breaker.admits(breaker.opens_at(start))
