"""The longest end of a sequence that fits into a budget of tokens, found with few counts.

Counting tokens may mean asking another server, so each count is worth avoiding. That a shorter end takes no more tokens
than a longer one is what bisection relies on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable


async def longest_suffix_that_fits(
    last: int, fits: Callable[[int], Awaitable[bool]], *, first: int = 0, from_end: bool = False
) -> int:
    """The first of the starts `first` to `last` from which a sequence fits.

    `last` is the answer where no other fits, and is never asked for. `from_end`: short ends are tried first, in steps
    that double; for sequences of which all but a short end is expected not to fit, and which take long to count.
    """
    low, high = first, last
    if from_end:
        step = 1
        while high - step >= first and await fits(high - step):
            high, step = high - step, step * 2
        low = max(first, high - step + 1)
    while low < high:
        middle = (low + high) // 2
        if await fits(middle):
            high = middle
        else:
            low = middle + 1
    return low
