"""Histograms and tables of the metrics."""

from __future__ import annotations

import asyncio
import itertools
import time

from hypothesis import given
from hypothesis import strategies as st

from antiphon.telemetry.metrics import BOUNDS, Count, Histogram, LoopLag, Table


def test_a_time_on_a_bound_belongs_below_it() -> None:
    histogram = Histogram()
    histogram.observe(0.001)
    histogram.observe(0.0011)
    histogram.observe(1e9)
    assert histogram.buckets()[:2] == [("0.001", 1), ("0.0025", 2)]
    assert histogram.buckets()[-2:] == [("300.0", 2), ("+Inf", 3)]


@given(st.lists(st.floats(0, 1000)))
def test_every_time_is_in_every_bucket_from_its_own_on(times: list[float]) -> None:
    histogram = Histogram()
    for each in times:
        histogram.observe(each)
    counts = [count for _, count in histogram.buckets()]
    assert counts == [sum(each <= bound for each in times) for bound in BOUNDS] + [len(times)]
    assert all(a <= b for a, b in itertools.pairwise(counts))
    assert abs(histogram.total - sum(times)) < 1e-6


@given(st.lists(st.integers(0, 20)))
def test_a_table_never_has_more_rows_than_it_may_and_loses_no_count(keys: list[int]) -> None:
    table: Table[int, Count] = Table(Count, -1, most=5)
    for key in keys:
        table[key].value += 1
    rows = dict(table)
    assert len(rows) <= 6
    assert sum(row.value for row in rows.values()) == len(keys)
    first = list(dict.fromkeys(keys))[:5]
    for key in first:
        assert rows[key].value == keys.count(key)
    assert set(rows) <= {*first, -1}


def test_a_blocked_loop_is_late() -> None:
    async def main() -> Histogram:
        lag = LoopLag(0.01)
        await lag.start()
        await asyncio.sleep(0.03)
        time.sleep(0.12)  # noqa: ASYNC251 - this is what is to be seen
        await asyncio.sleep(0.02)
        await lag.stop()
        await lag.stop()
        return lag.seconds

    buckets = dict(asyncio.run(main()).buckets())
    assert buckets["+Inf"] > buckets["0.1"] - 1
    assert buckets["+Inf"] > buckets["0.05"]
