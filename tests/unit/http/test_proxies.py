"""Who is believed about where a call came from."""

from __future__ import annotations

import pytest

from antiphon.http.proxies import Proxies

#: Two proxies, one behind the other.
TRUSTED = ("10.0.0.0/8", "fd00::/8")
CLIENT, LIAR = "198.51.100.7", "203.0.113.9"


def origin(peer: str | None, *headers: tuple[bytes, bytes], trusted: bool = True) -> str | None:
    scope = {"type": "http", "client": None if peer is None else (peer, 1), "headers": headers}
    return Proxies(TRUSTED if trusted else ()).origin(scope)


def xff(value: str) -> tuple[bytes, bytes]:
    return b"x-forwarded-for", value.encode("latin-1")


def forwarded(value: str) -> tuple[bytes, bytes]:
    return b"forwarded", value.encode("latin-1")


def test_nobody_is_believed_unless_that_is_set() -> None:
    assert origin("10.0.0.1", xff(CLIENT), forwarded(f"for={CLIENT}"), trusted=False) == "10.0.0.1"


def test_a_client_that_is_no_proxy_is_not_believed() -> None:
    assert origin(LIAR, xff(CLIENT)) == LIAR
    assert origin(None, xff(CLIENT)) is None


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (xff(CLIENT), CLIENT),
        (xff(f"{LIAR}, {CLIENT}"), CLIENT),
        (xff(f"{LIAR}, {CLIENT}, 10.9.9.9"), CLIENT),
        (xff(f"{CLIENT}:4711,10.1.1.1:80"), CLIENT),
        (xff("2001:db8::7"), "2001:db8::7"),
        (xff("[2001:db8::7]:4711, fd00::1"), "2001:db8::7"),
        (xff("::ffff:198.51.100.7"), CLIENT),
        (xff("10.1.1.1, 10.2.2.2"), "10.1.1.1"),
        (xff("unknown"), None),
        (xff(f"{CLIENT}, garbage"), None),
        (xff(f"{CLIENT},"), None),
        (xff("' OR 1=1 --"), None),
        (xff(""), "10.0.0.1"),
        (forwarded(f"for={CLIENT}"), CLIENT),
        (forwarded(f"by=10.0.0.2; For={CLIENT};proto=https"), CLIENT),
        (forwarded(f'for={LIAR}, for="{CLIENT}:4711";by=x, for=10.1.1.1'), CLIENT),
        (forwarded('for="[2001:db8::7]:4711"'), "2001:db8::7"),
        (forwarded("for=_hidden"), None),
        (forwarded("proto=https"), None),
        (forwarded(f"for={CLIENT}, by=10.0.0.2"), None),
    ],
)
def test_the_first_from_the_right_that_is_no_proxy_is_the_client(
    header: tuple[bytes, bytes], found: str | None
) -> None:
    assert origin("10.0.0.1", header) == found


def test_several_lines_of_a_header_are_one_list() -> None:
    assert origin("10.0.0.1", xff(LIAR), (b"host", b"x"), xff(CLIENT), xff("10.5.5.5")) == CLIENT


def test_two_headers_that_differ_tell_nothing() -> None:
    assert origin("10.0.0.1", xff(CLIENT), forwarded(f"for={LIAR}")) is None
    assert origin("10.0.0.1", xff(CLIENT), forwarded(f"for={CLIENT}")) == CLIENT


def xfp(value: str) -> tuple[bytes, bytes]:
    return b"x-forwarded-proto", value.encode("latin-1")


@pytest.mark.parametrize(
    ("peer", "scheme", "headers", "secure"),
    [
        ("10.0.0.1", "http", [], False),
        ("10.0.0.1", "https", [], True),
        ("198.51.100.7", "wss", [], True),
        ("10.0.0.1", "http", [xfp("https")], True),
        ("10.0.0.1", "ws", [xfp("WSS")], True),
        ("10.0.0.1", "http", [xfp("http")], False),
        ("198.51.100.7", "http", [xfp("https")], False),
        (None, "http", [xfp("https")], False),
        ("10.0.0.1", "http", [xfp("https, http")], False),
        ("10.0.0.1", "http", [xfp("http"), xfp("https")], True),
        ("10.0.0.1", "http", [forwarded(f"for={CLIENT};proto=https")], True),
        ("10.0.0.1", "http", [forwarded('proto="HTTPS";for=x')], True),
        ("10.0.0.1", "http", [forwarded("proto=https, for=10.1.1.1")], False),
        ("10.0.0.1", "http", [forwarded("for=x;proto=http"), xfp("https")], False),
        ("10.0.0.1", "http", [forwarded("for=x;proto=https"), xfp("http")], False),
        ("10.0.0.1", "http", [xfp(""), xfp(" ")], False),
        ("10.0.0.1", "http", [xfp("httpsx")], False),
    ],
)
def test_whether_the_client_came_over_tls(
    peer: str | None, scheme: str, headers: list[tuple[bytes, bytes]], secure: bool
) -> None:
    scope = {"scheme": scheme, "client": None if peer is None else (peer, 1), "headers": headers}
    assert Proxies(TRUSTED).is_secure(scope) is secure
    assert Proxies(()).is_secure(scope) is (scheme in ("https", "wss"))
