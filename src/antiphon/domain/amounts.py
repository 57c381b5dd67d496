"""Counts and sums that stay within 64 bits, whatever they are made of.

Databases hold numbers of 64 bits, and so do most programs that read our JSON. A count that an upstream makes up must
break nothing but itself: it is kept at the most that a count can be, and sums stand still at their end.
"""

from __future__ import annotations

from antiphon.domain import limits

#: The greatest number of 64 bits with a sign.
MOST = 2**63 - 1


def count(number: int) -> int:
    """Tokens, attempts, and what else is counted of one call: from 0 to `limits.MAX_TOKENS`."""
    return max(0, min(number, limits.MAX_TOKENS))


def cost(nano: int) -> int:
    """What one call or reservation comes to, in nano-dollars: from 0 to `limits.MAX_COST`."""
    return max(0, min(nano, limits.MAX_COST))


def total(number: int) -> int:
    """A sum of many."""
    return max(-MOST, min(number, MOST))
