"""Seconds, as clocks tell them, in whole milliseconds, as they are stored and shown."""

from __future__ import annotations


def milliseconds(seconds: float) -> int:
    """`seconds` (a duration or a moment) in milliseconds, rounded to the nearest.

    Not cut off: the difference of two readings of a clock is a little more or less than it was meant to be, by how long
    the machine has been up, and 0.2 s would be told as 199 ms on one day and as 200 ms on another.
    """
    return round(seconds * 1000)
