"""What of an upstream's words a client may read, and which of its errors can be tried again."""

from __future__ import annotations

import base64
import json
import time
from email.utils import formatdate
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.domain import limits
from antiphon.domain.errors import (
    AntiphonError,
    ContextLengthExceeded,
    DeadlineExceeded,
    EngineFailed,
    EngineUnavailable,
    InvalidRequest,
    NotFound,
    OutputInvalid,
    Overloaded,
    RateLimited,
    UpstreamFailed,
)
from antiphon.engines.upstream import errors
from antiphon.engines.upstream.scrubber import Scrubber

SECRET = "tok-Secret.0123456789"
SCRUBBER = Scrubber(SECRET, "up.example")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("'n' must be 1.", "'n' must be 1."),
        (f"bad key {SECRET}!", "bad key …!"),
        ("see https://u:p@up.example/x?k=1 for more", "see … for more"),
        ("wss://x.test:9/y", "…"),
        ("host up.example is down", "host … is down"),
        ("connect to 10.1.2.3:8000 failed", "connect to … failed"),
        ("http at localhost:11434, db.svc.internal", "http at …, …"),
        ("Incorrect API key provided: sk-proj-abc***xyz.", "Incorrect API key provided: …"),
        ("Authorization: Bearer abc.def", "Authorization: …"),
        ('File "/usr/lib/python3/vllm/x.py", line 3', 'File "…", line 3'),
        ("a\x00b\r\nc\td", "a b c d"),
        ("key-value-pairs, key_of_something", "key-value-pairs, key_of_something"),
        ("either/or and 3.5 or 1/2", "either/or and 3.5 or 1/2"),
    ],
)
def test_words_are_cleaned(said: str, shown: str) -> None:
    assert SCRUBBER.clean(said) == shown


@given(st.text(max_size=40), st.text(max_size=3000))
def test_a_secret_never_comes_through_and_there_is_an_end(before: str, after: str) -> None:
    cleaned = SCRUBBER.clean(before + SECRET + after)
    assert SECRET not in cleaned
    assert len(cleaned) <= limits.MAX_UPSTREAM_WORDS + 1
    assert "\n" not in cleaned


def test_long_words_do_not_hold_up_the_server() -> None:
    began = time.perf_counter()
    for text in ("a." * 50_000, "-a" * 50_000, "/a" * 50_000, "1." * 50_000, "exceeds " * 20_000, "sk-" * 40_000):
        SCRUBBER.clean(text)
        errors.reported({"error": {"message": text, "code": text, "param": text}}, SCRUBBER)
    assert time.perf_counter() - began < 1


def test_a_secret_is_no_code_and_no_parameter() -> None:
    scrubber = Scrubber("plainsecret", "up.example")
    told = errors.reported({"error": {"message": "x", "code": "plainsecret", "param": "plainsecret"}}, scrubber)
    assert (told.code, told.param, told.message) == (None, None, "x")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("0", 1),
        ("999999", limits.UPSTREAM_RETRY_AFTER),
        ("99999999999999999999", None),
        ("soon", None),
        ("", None),
        ("²", None),
        ("-5", None),
        pytest.param(formatdate(time.time() - 60, usegmt=True), 1, id="a minute ago"),
    ],
)
def test_retry_after(value: str, seconds: int | None) -> None:
    assert errors.retry_after({"Retry-After": value}) == seconds


def test_retry_after_as_a_date() -> None:
    seconds = errors.retry_after({"Retry-After": formatdate(time.time() + 60, usegmt=True)})
    assert seconds is not None
    assert 50 <= seconds <= 60


@pytest.mark.parametrize(
    ("error", "retry"),
    [
        (errors.unreachable(), "same"),
        (errors.broken(), "same"),
        (errors.truncated(), "same"),
        (errors.invalid("nonsense"), "same"),
        (UpstreamFailed("x", code="upstream_refused"), "other"),
        (RateLimited("x"), "same"),
        (Overloaded("x"), "same"),
        (EngineUnavailable("x"), "same"),
        (errors.late("x"), "other"),
        (DeadlineExceeded("x"), "other"),
        (NotFound("x"), "other"),
        (InvalidRequest("x"), "never"),
        (ContextLengthExceeded("x"), "never"),
        (EngineFailed("x"), "other"),
        (OutputInvalid("x"), "never"),
    ],
)
def test_what_can_be_tried_again(error: AntiphonError, retry: str) -> None:
    assert errors.retry(error) == retry


@pytest.mark.parametrize("before", ["", "x", "xy"])
def test_a_secret_is_found_however_it_is_written(before: str) -> None:
    secret = "tok/Se+cret=0123456789"
    scrubber = Scrubber(secret, "up.example")
    coded = base64.b64encode(f"{before}{secret}tail".encode()).decode()
    forms = [coded, coded.replace("+", "-").replace("/", "_"), quote(secret, safe=""), secret.encode().hex()]
    for form in (*forms, secret.replace("/", "\\/"), json.dumps(secret)):
        shown = scrubber.clean(f"{before} {form} {before}")
        core = form.strip('"')[8:-8]
        assert core not in shown, (form, shown)
    assert secret[:12] not in scrubber.clean("y " * (2 * limits.MAX_UPSTREAM_WORDS - 8) + secret)


def test_a_secret_in_an_answer_is_masked_unless_it_may_be_any_word() -> None:
    secret = "tok/Secret-0123456789"
    scrubber = Scrubber(secret, "up.example")
    assert scrubber.masked(b'{"a": "x tok/Secret-0123456789 y"}') == b'{"a": "x *** y"}'
    assert scrubber.masked(b'{"a": "tok\\/Secret-0123456789"}') == b'{"a": "***"}'
    for word in ("EMPTY", "none", "1234567890123456789", None):
        data = f'{{"a": "{word}", "b": 1234567890123456789}}'.encode()
        assert Scrubber(word, "up.example").masked(data) is data
