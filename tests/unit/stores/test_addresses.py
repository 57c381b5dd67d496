"""Database addresses, and ids that can be stored."""

from __future__ import annotations

import pytest

from antiphon.domain.errors import InvalidRequest, SetupError
from antiphon.stores.database import driver_for
from antiphon.stores.postgres import PostgresDriver
from antiphon.stores.section import is_valid_id, require_valid_id
from antiphon.stores.sqlite import SqliteDriver


def test_the_scheme_chooses_the_driver() -> None:
    assert isinstance(driver_for("sqlite:////somewhere/antiphon.db"), SqliteDriver)
    for scheme in ("postgres", "postgresql", "postgresql+psycopg"):
        assert isinstance(driver_for(f"{scheme}://user:secret@host/name"), PostgresDriver)


@pytest.mark.parametrize(
    "url", ["", "sqlite://", "sqlite:///", "sqlite:///:memory:", "mysql://user:secret@host/name", "antiphon.db"]
)
def test_other_addresses_are_refused_without_repeating_them(url: str) -> None:
    with pytest.raises(SetupError) as raised:
        driver_for(url)
    assert "secret" not in raised.value.message


@pytest.mark.parametrize("text", ["", "resp_1", "ü" * 256, "x" * 512, "\U0001f600", "\x01\x7f"])
def test_possible_ids(text: str) -> None:
    assert is_valid_id("resp_1", text)
    require_valid_id("resp_1", text)


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\ud800", "ü" * 257, "x" * 513])
def test_impossible_ids(text: str) -> None:
    assert not is_valid_id("resp_1", text)
    with pytest.raises(InvalidRequest):
        require_valid_id("resp_1", text)
