"""From what a request says of drawing tokens to llama.cpp's names."""

from __future__ import annotations

from typing import Any

import pytest

from antiphon.engines.llama.sampling import completion_body
from antiphon.models.catalog import ChatSettings
from antiphon.protocol.generation import Sampling

CHAT = ChatSettings(top_k=20, min_p=0.05)


def body(**said: Any) -> dict[str, Any]:
    return completion_body(Sampling(**said), CHAT, context=1000, vocabulary_size=100)


def test_what_is_not_said_is_the_models_own() -> None:
    assert body() == {"temperature": 1.0, "top_p": 1.0, "top_k": 20, "min_p": 0.05, "cache_prompt": True}


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ({"top_k": 3}, {"top_k": 3}),
        ({"top_k": 0}, {"top_k": 0}),
        ({"top_k": -1}, {"top_k": 0}),  # other servers' word for all tokens
        ({"min_p": 0.0}, {"min_p": 0.0}),
        ({"typical_p": 0.5}, {"typical_p": 0.5}),
        ({"repetition_penalty": 1.2}, {"repeat_penalty": 1.2, "repeat_last_n": 1000}),
    ],
)
def test_what_is_said_goes_before(said: dict[str, Any], sent: dict[str, Any]) -> None:
    assert body(**said) == body() | sent
