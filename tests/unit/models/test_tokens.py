"""Tokens of OpenAI's models, counted offline."""

from __future__ import annotations

import socket

import pytest

from antiphon.models import tokens
from support.gate import until


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("nothing may be fetched")

    monkeypatch.setattr(socket.socket, "connect", refuse)


# Token ids and counts that OpenAI's own notebook on counting shows.
@pytest.mark.parametrize(
    ("model", "text", "count"),
    [
        ("gpt-4o", "antidisestablishmentarianism", 6),
        ("gpt-4", "antidisestablishmentarianism", 6),
        ("gpt-4o", "お誕生日おめでとう", 8),
        ("gpt-4", "お誕生日おめでとう", 9),
        ("gpt-5-mini", "", 0),
        ("gpt-oss-20b", "<|start|>", 5),
    ],
)
def test_texts_are_counted_exactly(model: str, text: str, count: int) -> None:
    assert tokens.count_text(model, text) == count


def test_messages_are_counted_by_the_published_recipe() -> None:
    hello = tokens.count_text("gpt-4o", "hello there")
    assert hello == 2
    message = {"role": "user", "content": "hello there"}
    assert tokens.count_messages("gpt-4o", [message]) == 3 + 1 + 2 + 3
    assert tokens.count_messages("gpt-4o", [{**message, "name": "bob"}]) == 3 + 1 + 2 + 3 + 1 + 1
    parts = {"role": "user", "content": [{"type": "text", "text": "hello "}, {"type": "text", "text": "there"}]}
    assert tokens.count_messages("gpt-4o", [parts]) == 3 + 1 + 2 + 3


@pytest.mark.parametrize("model", ["qwen2.5", "", "text-davinci-003"])
def test_other_tokenizers_are_not_guessed(model: str) -> None:
    assert tokens.count_text(model, "hello") is None
    assert tokens.count_messages(model, []) is None
    assert tokens.Counter().count(model, "hello") is None


def test_a_server_does_not_wait_for_a_vocabulary() -> None:
    counter = tokens.Counter()
    assert counter.count("gpt-4o", "hello there") is None
    until(lambda: counter.count("gpt-4o", "hello there") == 2, "the vocabulary")
    assert counter.count("gpt-4o", "hello there " * 100_000) == pytest.approx(200_000, rel=0.01)
