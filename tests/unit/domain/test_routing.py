"""Deadlines of routes."""

from __future__ import annotations

import pytest

from antiphon.domain.routing import Deadlines


@pytest.mark.parametrize(
    ("deadlines", "stream", "answer"),
    [(Deadlines(), 3600, 600), (Deadlines(whole=20), 20, 20), (Deadlines(whole=7200), 7200, 7200)],
)
def test_an_answer_that_comes_at_once_is_not_waited_for_as_long(
    deadlines: Deadlines, stream: float, answer: float
) -> None:
    assert deadlines.total(streamed=True) == stream
    assert deadlines.total(streamed=False) == answer
