"""How many examples a property is tried with: a fraction of them in daily runs, all of them in `make test-all`."""

from __future__ import annotations

import os

from hypothesis import settings

#: Set by `make test-all`, and for the processes that it starts.
ALL = bool(os.environ.get("ANTIPHON_TEST_ALL"))
#: A daily run tries one example of so many.
_FRACTION = 5


def examples(full: int) -> int:
    """The number of examples to try of `full`."""
    return full if ALL else -(-full // _FRACTION)


def use() -> None:
    """Let properties without a number of their own be tried likewise, and none fail because the machine is slow."""
    settings.register_profile("antiphon", max_examples=examples(settings.default.max_examples), deadline=None)  # type: ignore[union-attr]
    settings.load_profile("antiphon")
