"""In which order the files of tests are begun: what takes longest first.

Tests of a file share its servers, so a file belongs to one test process. Begun longest first, files of all sizes fill
the processes evenly to the end; in pytest-xdist's own order (most tests first) a few long ones of few tests come last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

_TESTS = Path(__file__).resolve().parents[1]
#: Seconds of the files that take longest, roughly, by their paths below `tests`. A wrong one costs time only.
LONGEST: Mapping[str, float] = {}
#: Seconds of a test in any other file, on average.
_ORDINARY = 0.05


def longest_first(items: list[pytest.Item]) -> None:
    """Put the files in order; the order of the tests within each stays."""
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: -_seconds(item.path, tests[item.path]))


def _seconds(file: Path, tests: int) -> float:
    """What a file of that many tests takes."""
    name = file.relative_to(_TESTS).as_posix() if file.is_relative_to(_TESTS) else ""
    return LONGEST.get(name, tests * _ORDINARY)
