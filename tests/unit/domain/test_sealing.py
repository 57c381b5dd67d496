"""Sealed content: only what this server sealed, for this project and purpose, opens."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.domain.sealing import SealBroken, Sealer
from support.examples import examples

SEALER = Sealer(bytes(range(32)))


@given(st.binary(max_size=500), st.text(max_size=20), st.text(max_size=20))
@settings(max_examples=examples(50))
def test_what_is_sealed_opens_again(content: bytes, project: str, purpose: str) -> None:
    assert SEALER.open(project, purpose, SEALER.seal(project, purpose, content)) == content


def test_content_is_not_readable_and_never_sealed_alike() -> None:
    one, other = (SEALER.seal("proj", "summary", b"the plain words") for _ in range(2))
    assert one != other
    assert b"plain" not in base64.urlsafe_b64decode(one)


@pytest.mark.parametrize(
    ("sealer", "project", "purpose"),
    [
        (SEALER, "proj_2", "summary"),
        (SEALER, "proj_1", "reasoning"),
        (SEALER, "proj_1s", "ummary"),
        (Sealer(bytes(32)), "proj_1", "summary"),
    ],
)
def test_another_project_purpose_or_server_opens_nothing(sealer: Sealer, project: str, purpose: str) -> None:
    sealed = SEALER.seal("proj_1", "summary", b"content")
    with pytest.raises(SealBroken):
        sealer.open(project, purpose, sealed)


def test_every_changed_byte_is_noticed() -> None:
    raw = base64.urlsafe_b64decode(SEALER.seal("proj", "summary", b"content"))
    for index in range(len(raw)):
        changed = bytearray(raw)
        changed[index] ^= 1
        with pytest.raises(SealBroken):
            SEALER.open("proj", "summary", base64.urlsafe_b64encode(changed).decode())


def test_every_changed_character_is_noticed() -> None:
    sealed = SEALER.seal("proj", "summary", b"four")
    for index, character in enumerate(sealed):
        for other in "AB-_=":
            if other != character:
                with pytest.raises(SealBroken):
                    SEALER.open("proj", "summary", sealed[:index] + other + sealed[index + 1 :])


@pytest.mark.parametrize("cut", range(0, 60, 4))
def test_every_shortening_is_noticed(cut: int) -> None:
    with pytest.raises(SealBroken):
        SEALER.open("proj", "summary", SEALER.seal("proj", "summary", b"content")[:cut])


@pytest.mark.parametrize("junk", ["", "A", "====", "gAAAAA", "not base64!", "é", "\x00", "\ud800", "A" * 10_000])
def test_junk_is_no_seal(junk: str) -> None:
    with pytest.raises(SealBroken):
        SEALER.open("proj", "summary", junk)
