"""API keys: form, digest, hint."""

from __future__ import annotations

import hashlib
import hmac
import re

from antiphon.domain import keys


def test_a_new_key_has_256_random_bits_and_is_safe_in_urls() -> None:
    made = {keys.new_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"sk-antiphon-[A-Za-z0-9_-]{43}", key) for key in made)


def test_digest_is_keyed() -> None:
    secret = b"s" * 32
    assert keys.digest(secret, "key") == hmac.new(secret, b"key", hashlib.sha256).digest()
    assert keys.digest(b"t" * 32, "key") != keys.digest(secret, "key")


def test_digest_takes_any_text() -> None:
    assert len(keys.digest(b"s" * 32, "ключ \udcff")) == 32


def test_hint_shows_four_characters() -> None:
    assert keys.hint("sk-antiphon-secretsecretAbCd") == "sk-antiphon-…AbCd"
