"""The list of shutdowns: what is in it, and that a bad one is refused by name."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from antiphon.domain.errors import SetupError
from antiphon.domain.retirement import Retirement, Retirements
from antiphon.models.retirements import load, retirements

KNOWN = retirements()
EVERY = [*KNOWN.models.values(), *KNOWN.endpoints.values()]


@pytest.mark.parametrize("entry", EVERY, ids=lambda entry: entry.subject)
def test_every_entry_says_when_what_then_and_who_says_so(entry: Retirement) -> None:
    assert date(2026, 1, 1) <= entry.shutdown <= date(2027, 12, 31)
    assert entry.source.startswith("https://")
    assert entry.replacement.isascii()
    assert entry.replacement.isprintable()
    assert entry.announced is None or date(2025, 1, 1) <= entry.announced <= entry.shutdown
    assert entry.replacement != entry.name


def test_what_is_known() -> None:
    assert len(KNOWN.models) > 80
    for name, day in {
        "gpt-3.5-turbo": date(2026, 10, 23),
        "gpt-4": date(2026, 10, 23),
        "gpt-4-turbo": date(2026, 10, 23),
        "o1": date(2026, 10, 23),
        "o3-mini": date(2026, 10, 23),
        "o4-mini": date(2026, 10, 23),
        "gpt-4o": date(2027, 1, 14),
        "gpt-4.1": date(2027, 1, 14),
        "whisper-1": date(2027, 2, 26),
        "gpt-4o-mini-transcribe": date(2027, 2, 26),
        "dall-e-3": date(2026, 5, 12),
        "sora-2": date(2026, 9, 24),
    }.items():
        found = KNOWN.model(name)
        assert found is not None, name
        assert found.shutdown == day, name
    for path, day in {
        "/v1/assistants": date(2026, 8, 26),
        "/v1/assistants/{assistant_id}": date(2026, 8, 26),
        "/v1/threads/{thread_id}/runs/{run_id}/steps": date(2026, 8, 26),
        "/v1/prompts/{prompt_id}/versions": date(2026, 11, 30),
        "/v1/evals": date(2026, 11, 30),
        "/v1/videos": date(2026, 9, 24),
        "/v1/fine_tuning/jobs": date(2027, 1, 6),
    }.items():
        found = KNOWN.endpoint(path)
        assert found is not None, path
        assert found.shutdown == day, path
    for path in ("/v1/responses", "/v1/promptsy", "/v1/fine_tuning", "/v1", "/", ""):
        assert KNOWN.endpoint(path) is None, path


def test_names_that_are_not_there() -> None:
    for name in ("gpt-4o-", "gpt-6-luna", "GPT-4o", "", "ft:", "ft:gpt-6-luna:org::1", "qwen2.5-0.5b"):
        assert KNOWN.model(name) is None, name


def test_a_fine_tuned_model_goes_with_its_base() -> None:
    found = KNOWN.model("ft:gpt-4o-2024-08-06:acme:support:abc123")
    assert found is not None
    assert found.shutdown == date(2027, 1, 14)


def test_a_replacement_that_goes_too_is_followed() -> None:
    found = KNOWN.models["gpt-5.1-codex"]
    assert KNOWN.advice(found) == "gpt-5, which goes on 2026-12-11 too: then gpt-6.1-sol"
    circle = {
        name: Retirement("model", name, date(2027, 1, 1), other, "https://x")
        for name, other in [("a", "b"), ("b", "a")]
    }
    assert Retirements(date(2026, 1, 1), "https://x", circle).advice(circle["a"]).count("then") == 1


def test_no_advice_ends_with_what_is_gone() -> None:
    for entry in EVERY:
        last = KNOWN.advice(entry).rpartition("then ")[2]
        assert KNOWN.model(last) is None, entry.subject


GOOD = """
as_of = 2026-11-22
page = "https://example.com/list"
[[group]]
shutdown = 2027-01-14
announced = 2026-10-14
source = "https://example.com/1"
[group.models]
gpt-x = "gpt-y"
[group.endpoints]
"/v1/x" = { replacement = "/v1/y", successor = "/v1/y" }
"""


ANOTHER = '[[group]]\nshutdown = 2027-01-01\nsource = "https://x"\n'


def test_a_good_file(tmp_path: Path) -> None:
    path = tmp_path / "list.toml"
    path.write_text(GOOD)
    known = load(path)
    day, said = date(2027, 1, 14), date(2026, 10, 14)
    assert known.as_of == date(2026, 11, 22)
    assert known.models == {"gpt-x": Retirement("model", "gpt-x", day, "gpt-y", "https://example.com/1", said)}
    assert known.by_subject("endpoint:/v1/x") == known.endpoint("/v1/x/y")
    assert known.by_subject("model:gpt-x") == known.model("gpt-x")
    assert known.by_subject("nonsense") is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("2027-01-14", '"soon"', "shutdown"),
        ("2027-01-14", "2026-10-13", "announced"),
        ('source = "https://example.com/1"', "", "source"),
        ("https://example.com/1", "hearsay", "source"),
        ('"gpt-y"', '""', "models"),
        ('"gpt-y"', r'"a\nb: c"', "models"),
        ('"gpt-y"', '"gpt-ü"', "models"),
        ("gpt-x", '"gpt x"', "models"),
        ('"/v1/x"', '"x"', "endpoints"),
        ("replacement", "instead", "endpoints"),
        ("as_of = 2026-11-22", "", "as_of"),
        ("[group.models]", "colour = 1\n[group.models]", "colour"),
        ("as_of", "as_of = = ", "list.toml"),
        (
            "[[group]]",
            '[[group]]\nshutdown = 2027-01-01\nsource = "https://x"\nmodels = {gpt-x = "zz"}\n[[group]]',
            "twice",
        ),
        ("[[group]]", '[[group]]\nshutdown = 2027-01-01\nsource = "https://x"\n[[group]]', "names nothing"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "list.toml"
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(SetupError, match="not a valid list of shutdowns") as caught:
        load(path)
    assert message in caught.value.message


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="cannot be read"):
        load(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff")
    with pytest.raises(SetupError, match="not a valid"):
        load(tmp_path / "bytes.toml")
