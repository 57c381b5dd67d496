"""The line of a call is written by a shorter way than other lines, and looks like them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.telemetry import logs
from support.loglines import logged
from support.quiet import quiet


def test_a_line_has_the_fields_of_any_other() -> None:
    with logged() as lines:
        logs.logger("antiphon.here").info("request", status=200, text='a "b"\n')
        logs.line("info", "request", "here", {"status": 200, "text": 'a "b"\n'})
    one, other = lines.all()
    assert set(one) == set(other)
    for line in (one, other):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line.pop("timestamp"))
    assert one == other


@given(st.floats(0, 4e9))
def test_timestamps(unix: float) -> None:
    shown = datetime.strptime(logs.timestamp(unix), "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    assert abs(shown.timestamp() - unix) < 1e-5


@pytest.mark.parametrize(
    ("least", "shown"), [("debug", [True, True]), ("info", [False, True]), ("warning", [False, False])]
)
def test_levels(least: logs.Level, shown: list[bool]) -> None:
    with logged(least):
        assert [logs.enabled("debug"), logs.enabled("info")] == shown


def test_without_json_the_line_goes_the_way_of_others(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        logs.configure("info", "console")
        logs.line("info", "request", "here", {"status": 200})
    finally:
        logs.unconfigure()
        quiet()
    assert re.search(r"request .*status.*200", capsys.readouterr().err)
