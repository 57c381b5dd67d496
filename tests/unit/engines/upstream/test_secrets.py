"""Upstreams' secrets: where they come from, and that nobody sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.domain import limits
from antiphon.domain.errors import SetupError
from antiphon.domain.routing import Secret
from antiphon.engines.upstream.secrets import SecretSource


def test_from_the_environment() -> None:
    source = SecretSource("up", Secret(env="KEY"), environment={"KEY": " sk-secret \n"})
    assert source.value == "sk-secret"
    assert "sk-secret" not in repr(source)
    assert SecretSource("up", None).value is None


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({}, "KEY is not set"),
        ({"KEY": " "}, "KEY is empty"),
        ({"KEY": "a\nb"}, "visible ASCII"),
        ({"KEY": "é"}, "ASCII"),
    ],
)
def test_a_variable_that_holds_none(environment: dict[str, str], why: str) -> None:
    with pytest.raises(SetupError, match=why) as caught:
        SecretSource("up", Secret(env="KEY"), environment=environment)
    assert "'up'" in caught.value.message


def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("first\n")
    now = 0.0
    source = SecretSource("up", Secret(file=file), clock=lambda: now)
    assert source.value == "first"
    file.write_text("second-secret\n")
    assert source.value == "first", "it is not looked at for every request"
    now += limits.UPSTREAM_SECRET_CHECK
    assert source.value == "second-secret"
    file.unlink()
    now += limits.UPSTREAM_SECRET_CHECK
    assert source.value == "second-secret", "a file is gone for a moment while it is being replaced"


def test_a_refusal_has_it_read_at_once(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("first")
    source = SecretSource("up", Secret(file=file))
    assert not source.refresh()
    file.write_text("second")
    assert source.refresh()
    assert source.value == "second"


@pytest.mark.parametrize(("content", "why"), [(None, "cannot be read"), ("", "is empty"), ("x" * 20_000, "too large")])
def test_a_file_that_holds_none(tmp_path: Path, content: str | None, why: str) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SetupError, match=why) as caught:
        SecretSource("up", Secret(file=file))
    assert str(file) in caught.value.message
    assert "xxx" not in caught.value.message
