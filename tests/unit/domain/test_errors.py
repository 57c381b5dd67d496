"""Errors do not change once they are raised: other words make another error."""

from __future__ import annotations

import pytest

from antiphon.domain import limits
from antiphon.domain.errors import (
    AntiphonError,
    ConversationLocked,
    InvalidRequest,
    ModelNotFound,
    RateLimited,
    StoreUnavailable,
    fresh,
    note_used,
    used_by,
)

SAMPLES = [
    InvalidRequest("It is wrong.", code="invalid_value", param="input"),
    ModelNotFound("gpt"),
    ConversationLocked(),
    RateLimited("Too many.", kind="tokens", retry_after=7),
    StoreUnavailable("disk full"),
]


def said(error: AntiphonError) -> tuple[object, ...]:
    return type(error), str(error), error.body(), error.status, error.retry_after, error.paid


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
def test_a_fresh_error_says_the_same_and_has_no_traceback(error: AntiphonError) -> None:
    try:
        raise error
    except AntiphonError as raised:
        note_used(raised, 5)
        twin = fresh(raised)
    assert twin is not error
    assert twin.__traceback__ is None
    assert said(twin) == said(error)
    assert used_by(twin) == 5


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
def test_restating_an_error_leaves_it_as_it_is(error: AntiphonError) -> None:
    before = said(error)
    other = error.restated(param="elsewhere")
    assert said(error) == before
    assert (type(other), other.message, other.code, other.param) == (
        type(error),
        error.message,
        error.code,
        "elsewhere",
    )
    assert other.restated(param=None, message="Other words.").body()["error"]["message"] == "Other words."


def test_restated_errors_are_bounded_like_new_ones() -> None:
    error = InvalidRequest("short").restated(param="p" * 100_000, message="m" * 1_000_000)
    assert error.param is not None
    assert len(error.param) == limits.MAX_ERROR_PARAM
    assert len(error.message) == limits.MAX_ERROR_MESSAGE + 1


def test_what_an_error_says_cannot_be_set() -> None:
    error = InvalidRequest("It is wrong.", param="input")
    for name in ("message", "param"):
        with pytest.raises(AttributeError):
            setattr(error, name, "something else")
