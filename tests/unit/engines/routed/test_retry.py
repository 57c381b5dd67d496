"""What is tried again, and how much."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.domain import errors as e
from antiphon.domain import limits
from antiphon.engines.routed.retry import RetryBudget, backoff, blames_target, rest, retry


@given(st.lists(st.tuples(st.sampled_from(["call", "retry"]), st.floats(0, 5)), max_size=400))
def test_retries_are_a_tenth_of_the_load(history: list[tuple[str, float]]) -> None:
    now = 0.0
    budget = RetryBudget(now)
    calls = retries = 0
    for what, seconds in history:
        now += seconds
        if what == "call":
            budget.called(now)
            calls += 1
        else:
            retries += budget.take()
        most = limits.RETRY_SAVINGS + calls * limits.RETRY_SHARE + now * limits.RETRY_TRICKLE
        assert retries <= most + 1e-6


def test_a_budget_that_was_used_up_comes_back_with_the_load() -> None:
    budget = RetryBudget(0.0)
    while budget.take():
        pass
    for _ in range(int(1 / limits.RETRY_SHARE) - 1):
        budget.called(0.0)
        assert not budget.take()
    budget.called(0.0)
    budget.called(0.0)
    assert budget.take()
    assert not budget.take()


@pytest.mark.parametrize(
    ("error", "again", "blamed", "seconds"),
    [
        (e.UpstreamFailed("x"), "same", True, 0),
        (e.UpstreamFailed("x", retry_after=7), "same", True, 7),
        (e.UpstreamFailed("x", code="upstream_refused"), "other", True, 0),
        (e.UpstreamBroken("x"), "same", True, 0),
        (e.UpstreamFailed("x", code="upstream_invalid"), "same", False, 0),
        (e.UpstreamFailed("x", code="upstream_truncated"), "same", False, 0),
        (e.DeadlineExceeded("x"), "other", True, 0),
        (e.RateLimited("x"), "same", False, 1),
        (e.RateLimited("x", retry_after=10**9), "same", False, limits.RETRY_AFTER_MAX),
        (e.Overloaded("x"), "same", True, 0),
        (e.Overloaded("x", retry_after=3), "same", True, 3),
        (e.EngineUnavailable("x"), "same", True, 0),
        (e.EngineFailed("x"), "same", True, 0),
        (e.OutputInvalid("x"), "never", False, 0),
        (e.ShuttingDown("x", retry_after=3), "never", False, 0),
        (e.InvalidRequest("x"), "never", False, 0),
        (e.ContextLengthExceeded("x"), "never", False, 0),
        (e.NotFound("x", code="model_not_found"), "other", False, 0),
        (e.SpendLimitReached("x"), "never", False, 0),
    ],
    ids=lambda value: f"{type(value).__name__}-{value.code}" if isinstance(value, e.AntiphonError) else "",
)
def test_what_may_be_tried_again(error: e.AntiphonError, again: str, blamed: bool, seconds: float) -> None:
    assert (retry(error), blames_target(error), rest(error)) == (again, blamed, seconds)


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_backoff_is_bounded(tries: int, chance: float) -> None:
    assert 0 <= backoff(tries, lambda: chance) <= limits.RETRY_BACKOFF_MAX


def test_backoff_grows() -> None:
    assert [backoff(tries, lambda: 1.0) for tries in (1, 2, 3, 9)] == [0.1, 0.2, 0.4, 2.0]
