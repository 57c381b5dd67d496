"""Sizes as people read them: in one unit everywhere, so that any two can be compared."""

from __future__ import annotations


def megabytes(count: float) -> str:
    """`count` bytes as `1,117 MB`. A megabyte is 1,000,000 bytes, as disks and lines are sold."""
    return f"{count / 1e6:,.0f} MB"
