"""A part of the collection of schemas with the built-in model; `python -m tests.schemas` asks for all of it."""

from __future__ import annotations

from pathlib import Path

from schemas.asked import MODES, ask_all
from schemas.variety import schemas
from support.real import launch
from support.shallow import shallow_model


def test_answers_fit_and_forced_calls_are_made(tmp_path: Path) -> None:
    names = list(schemas().items())[3::48]
    questions = [
        (name, schema, mode, ("responses", "chat")[(i + j) % 2])
        for i, (name, schema) in enumerate(names)
        for j, mode in enumerate(MODES)
        if (i + j) % 4 in (0, 3)  # of each schema two modes, of each mode both APIs
    ]
    with launch(tmp_path, "--model", str(shallow_model())) as server:
        tally = ask_all(server.base_url, server.key, questions)
    assert tally.wrong == []
    assert tally.counts["fit"] >= len(questions) // 3, tally.line()
