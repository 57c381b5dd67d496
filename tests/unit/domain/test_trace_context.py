"""Which headers of a trace are passed on."""

from __future__ import annotations

import pytest

from antiphon.domain import limits
from antiphon.domain.trace_context import trace_headers

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    "parent", [PARENT, PARENT.replace("00-", "cc-", 1), PARENT.replace("00-", "cc-", 1) + "-more.1"]
)
def test_a_trace_is_passed_on(parent: str) -> None:
    assert trace_headers(parent, None) == {"traceparent": parent}
    assert trace_headers(parent, "rojo=00f067aa0ba902b7,a@b=1") == {
        "traceparent": parent,
        "tracestate": "rojo=00f067aa0ba902b7,a@b=1",
    }


@pytest.mark.parametrize(
    "parent",
    [
        None,
        "",
        "00",
        PARENT.upper(),
        PARENT + "-more",  # version 00 has four fields
        PARENT + " ",
        PARENT + "\n",
        PARENT + "\r\nX-Other: 1",
        PARENT.replace("00-", "ff-", 1),
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
        PARENT.replace("0af", "é0f"),
        "cc" + PARENT[2:] + "-" + "x" * 100_000,
    ],
)
def test_what_is_no_trace_is_ignored(parent: str | None) -> None:
    assert trace_headers(parent, "a=1") == {}


@pytest.mark.parametrize("state", ["", "a=1\r\nX-Other: 1", "a=\x00", "a=é", "a" * (limits.MAX_TRACESTATE + 1)])
def test_a_state_that_cannot_be_sent_is_left_out(state: str) -> None:
    assert trace_headers(PARENT, state) == {"traceparent": PARENT}
