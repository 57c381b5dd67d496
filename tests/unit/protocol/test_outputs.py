"""What fields that we do not know ask for, and how much of a request a model is shown."""

from __future__ import annotations

from typing import Any

import pytest

from antiphon.domain.errors import InvalidRequest
from antiphon.protocol import estimate
from antiphon.protocol.generation import FilePart, Generation, ImagePart, Message, Passthrough, Sampling, TextPart, Tool
from antiphon.protocol.outputs import limited, outputs


def asked(**extra: Any) -> Generation:
    return Generation("m", (), extra=extra)


@pytest.mark.parametrize(
    ("extra", "found"),
    [
        ({}, (0, 1)),
        ({"top_k": 5, "note": {"text": "max_tokens"}}, (0, 1)),
        ({"num_predict": 9, "options": {"num_predict": 12}}, (12, 1)),
        ({"a": [{"b": [{"Max-New_Tokens": "30"}]}]}, (30, 1)),
        ({"best_of": 2, "parameters": {"num_return_sequences": 3.0}}, (0, 6)),
        ({"n": None, "max_length": None}, (1, 1)),
    ],
)
def test_other_servers_words_count(extra: dict[str, Any], found: tuple[int, int]) -> None:
    assert outputs(asked(**extra)) == found


@pytest.mark.parametrize("value", [-1, 0, 10**12, 1.5, True, "many", [5], {"a": 1}, "-1", "\N{SUPERSCRIPT TWO}"])
def test_what_is_no_count_is_refused_by_its_path(value: object) -> None:
    with pytest.raises(InvalidRequest) as refused:
        outputs(asked(options={"num_predict": value}))
    assert refused.value.param == "options.num_predict"


def test_a_limit_is_set_in_our_words_and_in_the_clients() -> None:
    passthrough = Passthrough("chat", {"messages": [], "max_tokens": 5})
    made = limited(Generation("m", (), sampling=Sampling(), passthrough=passthrough), 7)
    assert made.sampling.max_tokens == 7
    assert made.passthrough is not None
    assert made.passthrough.body == {"messages": [], "max_completion_tokens": 7}


LONG = "word " * 2_000


@pytest.mark.parametrize(
    "generation",
    [
        Generation("m", (Message("user", (TextPart(LONG),)),)),
        Generation("m", (Message("user", (TextPart("x"),), name=LONG),)),
        Generation("m", (), tools=(Tool("f", LONG),)),
        Generation("m", (), tools=(Tool("f", parameters={"title": LONG}),)),
        Generation("m", (), extra={"a": {"b": LONG}}),
        Generation(
            "m", (), passthrough=Passthrough("chat", {"messages": [{"role": "user", "content": "", "odd": LONG}]})
        ),
        Generation("m", (), passthrough=Passthrough("responses", {"input": "x", "instructions": LONG})),
        # Text does not become an image by looking like one.
        Generation(
            "m",
            (),
            passthrough=Passthrough(
                "chat", {"messages": [{"role": "user", "content": "data:image/png;base64," + LONG}]}
            ),
        ),
    ],
)
def test_the_same_text_counts_alike_wherever_it_stands(generation: Generation) -> None:
    assert estimate.input_tokens(generation) == pytest.approx(2_500, abs=60)


def test_what_is_not_ascii_takes_more() -> None:
    assert estimate.tokens(estimate.units("\N{GRINNING FACE}" * 300)) == 400
    assert estimate.tokens(estimate.units("\u4e2d" * 300)) == 300
    assert estimate.tokens(estimate.units("\ud800" * 3)) == 3


def test_images_count_as_images_and_files_by_their_size() -> None:
    data = "data:image/png;base64," + "A" * 1_000_000
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": data}}]}
    turns = (Message("user", (ImagePart(data),)),)
    passthrough = Generation("m", turns, passthrough=Passthrough("chat", {"messages": [image]}))
    assert estimate.input_tokens(passthrough) < 2_000
    assert estimate.input_tokens(Generation("m", turns)) < 2_000
    text = Generation("m", (Message("user", (FilePart("data:text/plain;base64," + "A" * 500_000),)),))
    assert estimate.input_tokens(text) > 90_000
