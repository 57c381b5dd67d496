"""The counters of rate limits: exact, and never over their limits."""

from __future__ import annotations

import asyncio
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from antiphon.domain.rates import (
    DAY,
    MINUTE,
    NANOSECONDS,
    NO_LIMITS,
    Demand,
    Meter,
    RateLimit,
    RateLimits,
    Reading,
    Refusal,
    duration,
)
from antiphon.policy.limits.counters import Counters
from support.examples import examples

PER_MINUTE = Meter(("key", "key_1", "", "tpm"), 90, MINUTE)
PER_DAY = Meter(("project", "proj_1", "", "tpd"), 1000, DAY)
AT_ONCE = Meter(("user", "user_1", "", "concurrent"), 3, 0)


class Time:
    def __init__(self) -> None:
        self.now = 5

    def __call__(self) -> int:
        return self.now


def take(
    counters: Counters, use: list[Demand], hold: list[Demand], check: list[Demand] | None = None
) -> tuple[Refusal | None, list[Reading]]:
    return asyncio.run(counters.take(use, hold, check or []))


class Windows(RuleBasedStateMachine):
    """Calls that begin, end with any use, and are broken off, at any time, under three limits at once."""

    def __init__(self) -> None:
        super().__init__()
        self.time = Time()
        self.counters = Counters(self.time)
        #: Calls that run: what is held for each.
        self.running: list[list[Demand]] = []
        #: What has come to be used: (when, how much).
        self.used: list[tuple[int, int]] = []
        self.refused: Refusal | None = None
        self.asked = 0

    @rule(nanoseconds=st.integers(0, 2 * MINUTE))
    def pass_time(self, nanoseconds: int) -> None:
        self.time.now += nanoseconds

    @rule(tokens=st.integers(0, 120))
    def begin(self, tokens: int) -> None:
        held = [Demand(PER_MINUTE, tokens), Demand(PER_DAY, tokens), Demand(AT_ONCE, 1)]
        before = take(self.counters, [], [], held)[1]
        self.refused, after = take(self.counters, [], held)
        self.asked = tokens
        if self.refused is None:
            self.running.append(held)
        else:
            assert before == after, "a refused call left something behind"

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0), share=st.fractions(0, 1))
    def end(self, which: int, share: Fraction) -> None:
        held = self.running.pop(which % len(self.running))
        used = int(held[0].amount * share)
        self.counters.give_back(held[:2], used)
        self.counters.give_back(held[2:], 0)
        self.used.append((self.time.now, used))

    @precondition(lambda self: self.refused is not None and self.refused.wait is not None and not self.running)
    @rule()
    def wait_as_told(self) -> None:
        assert self.refused is not None
        assert self.refused.wait is not None
        self.time.now += self.refused.wait
        held = [Demand(PER_MINUTE, self.asked), Demand(PER_DAY, self.asked)]
        assert take(self.counters, [], [], held)[0] is None, "the wait that was told is not enough"
        self.refused = None

    @invariant()
    def in_no_window_more_than_the_limit_and_its_refill(self) -> None:
        for meter in (PER_MINUTE, PER_DAY):
            held = sum(demand.amount for call in self.running for demand in call if demand.meter == meter)
            total = held
            for at, amount in reversed(self.used):
                total += amount
                window = self.time.now - at
                assert total <= meter.limit + Fraction(meter.limit * window, meter.period)

    @invariant()
    def no_more_at_once_than_may_be(self) -> None:
        assert len(self.running) <= AT_ONCE.limit

    @invariant()
    def what_is_shown_is_so(self) -> None:
        _, (minute, day, at_once) = take(
            self.counters, [], [], [Demand(PER_MINUTE, 0), Demand(PER_DAY, 0), Demand(AT_ONCE, 0)]
        )
        assert 0 <= minute.remaining <= PER_MINUTE.limit
        assert 0 <= day.remaining <= PER_DAY.limit
        assert at_once.remaining == AT_ONCE.limit - len(self.running)
        assert (minute.reset == 0) == (minute.remaining == PER_MINUTE.limit) or minute.reset < NANOSECONDS

    def teardown(self) -> None:
        """Whoever leaves, leaves nothing behind: once it is over and time has passed, everything is there again."""
        for held in self.running:
            self.counters.give_back(held, 0)
        self.time.now += DAY
        readings = take(self.counters, [], [], [Demand(m, 0) for m in (PER_MINUTE, PER_DAY, AT_ONCE)])[1]
        assert [reading.remaining for reading in readings] == [90, 1000, 3]
        assert [reading.reset for reading in readings] == [0, 0, 0]


Windows.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=40, deadline=None)
TestWindows = Windows.TestCase


def test_it_empties_continuously_and_exactly() -> None:
    time = Time()
    counters = Counters(time)
    meter = Meter(("key", "k", "", "rpm"), 3, MINUTE)
    for left in (2, 1, 0):
        refused, readings = take(counters, [Demand(meter, 1)], [])
        assert refused is None
        assert readings == [Reading(meter, left, (3 - left) * 20 * NANOSECONDS)]
    refused, _ = take(counters, [Demand(meter, 1)], [])
    assert refused == Refusal(Demand(meter, 1), 0, 20 * NANOSECONDS)
    # A third of a minute has no end in decimals, nor in binary: nothing is lost on the way there.
    for _ in range(1_999):
        time.now += 10_000_000
        take(counters, [], [], [Demand(meter, 0)])
    assert take(counters, [Demand(meter, 1)], [])[0] is not None
    time.now += 10_000_000
    assert take(counters, [Demand(meter, 1)], [])[0] is None


def test_use_beyond_what_was_held_is_a_debt() -> None:
    time = Time()
    counters = Counters(time)
    held = [Demand(PER_MINUTE, 10)]
    take(counters, [], held)
    counters.give_back(held, 180)
    refused, readings = take(counters, [], [Demand(PER_MINUTE, 90)])
    assert readings[0].remaining == 0
    assert refused is not None
    assert refused.wait == 2 * MINUTE
    time.now += 2 * MINUTE
    assert take(counters, [], [Demand(PER_MINUTE, 90)])[0] is None


def test_what_is_larger_than_the_limit_never_fits() -> None:
    refused, _ = take(Counters(Time()), [], [Demand(PER_MINUTE, 91), Demand(PER_DAY, 91)])
    assert refused is not None
    assert refused.demand.meter is PER_MINUTE
    assert refused.wait is None


def test_of_several_refusals_the_longest_is_told() -> None:
    counters = Counters(Time())
    take(counters, [Demand(PER_MINUTE, 90), Demand(PER_DAY, 1000)], [])
    refused, _ = take(counters, [], [Demand(PER_MINUTE, 1), Demand(PER_DAY, 1)])
    assert refused is not None
    assert refused.demand.meter is PER_DAY


def test_a_limit_that_changes_holds_at_once() -> None:
    time = Time()
    counters = Counters(time)
    take(counters, [Demand(PER_MINUTE, 80)], [])
    more = Meter(PER_MINUTE.name, 100, MINUTE)
    assert take(counters, [], [], [Demand(more, 0)])[1][0].remaining == 20
    less = Meter(PER_MINUTE.name, 10, MINUTE)
    _, (reading,) = take(counters, [], [], [Demand(less, 0)])
    assert (reading.remaining, reading.reset) == (0, MINUTE), "nobody waits for more than one period"


def test_there_are_only_so_many_counters_and_those_that_are_held_stay() -> None:
    counters = Counters(Time(), size=20)
    held = [Demand(AT_ONCE, 1)]
    take(counters, [], held)
    for number in range(200):
        take(counters, [Demand(Meter(("key", str(number), "", "rpm"), 5, MINUTE), 1)], [])
        assert len(counters) <= 20
    assert take(counters, [], [], [Demand(AT_ONCE, 0)])[1][0].remaining == 2
    counters.give_back(held, 0)
    assert take(counters, [], [], [Demand(AT_ONCE, 0)])[1][0].remaining == 3


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (1, "1ms"),
        (12_000_000, "12ms"),
        (999_000_001, "1s"),
        (NANOSECONDS, "1s"),
        (8_640_000_000, "8.64s"),
        (360 * NANOSECONDS, "6m0s"),
        (61_500_000_000, "1m1.5s"),
        (3600 * NANOSECONDS, "1h0m0s"),
        (DAY, "24h0m0s"),
        (DAY + 1_002_000_000, "24h0m1.002s"),
    ],
)
def test_durations_are_written_as_go_does(nanoseconds: int, text: str) -> None:
    assert duration(nanoseconds) == text


def test_limits_apply_to_their_models() -> None:
    every = RateLimit("project", "p", rpm=5, tpd=7)
    one = RateLimit("project", "p", "gpt-4o", rpm=3, concurrent=1)
    some = RateLimit("key", "k", "gpt-*", tpm=9)
    limits = RateLimits([every, one, some])
    names: Any = lambda applying: [meter.name for meter in applying]  # noqa: E731
    found = limits.applying("gpt-4o", "gpt-4o")
    assert names([demand.meter for demand in found.requests]) == [
        ("project", "p", "", "rpm"),
        ("project", "p", "gpt-4o", "rpm"),
    ]
    assert names(found.tokens) == [("project", "p", "", "tpd"), ("key", "k", "gpt-*", "tpm")]
    assert [demand.meter.limit for demand in found.concurrent] == [1]
    assert limits.applying("gpt-4o", "gpt-4o") is found
    alias = limits.applying("mini", "mini", "gpt-4o")
    assert alias == found, "another name for a model is no way around its limits"
    assert names(limits.applying("other").tokens) == [("project", "p", "", "tpd")]
    assert not NO_LIMITS
    assert RateLimit("key", "k", "m").empty
