"""Money: whole nano-US-dollars (1e-9 USD), so that sums are exact in every database and on every platform.

A price has its own unit, nano-dollars for a million tokens, in which every published price is a whole number too.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import NamedTuple

#: Nano-dollars of a dollar, and of a cent.
DOLLAR = 1_000_000_000
CENT = DOLLAR // 100
#: Tokens that a rate is for.
MILLION = 1_000_000
#: More than any price or budget is: a slip of the keyboard (US dollars). In nano-dollars it fits into 64 bits.
MAX_DOLLARS = 1_000_000_000


class Cost(NamedTuple):
    """What something cost (nano-dollars), and which version of which price list says so."""

    nano: int
    version: str


class CallCost(NamedTuple):
    """`nano`: nano-dollars, None if some of it is unknown. `saved`: by kept answers. `version`: of the prices used."""

    nano: int | None
    saved: int | None
    version: str


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices for a million tokens, in nano-dollars; `request` is for one generation, whatever its tokens.

    `output` None: not known, so nothing that has output can be priced. `above`: (tokens, rates) in ascending order; an
    input of more than so many tokens is charged by those rates as a whole.
    """

    input: int
    cached: int
    cache_write: int
    output: int | None
    reasoning: int
    input_audio: int
    output_audio: int
    request: int
    version: str
    above: tuple[tuple[int, Rates], ...] = ()

    def for_input(self, tokens: int) -> Rates:
        """The rates for an input of so many tokens."""
        chosen = self
        for start, rates in self.above:
            if tokens > start:
                chosen = rates
        return chosen


def from_dollars(text: str) -> int:
    """US dollars as decimal text in nano-dollars. Raises `ValueError` for what is no amount, or too fine or large."""
    try:
        amount = Decimal(text.strip())
    except InvalidOperation:
        raise ValueError(f"'{text[:40]}' is not an amount of US dollars") from None
    if not amount.is_finite() or amount < 0 or amount > MAX_DOLLARS:
        raise ValueError(f"'{text[:40]}' is not an amount from 0 to {MAX_DOLLARS} US dollars")
    nano = amount * DOLLAR
    if nano != nano.to_integral_value():
        raise ValueError(f"'{text[:40]}' is finer than a nano-dollar (nine decimals)")
    return int(nano)


def rate(dollars: Decimal, factor: Decimal = Decimal(1)) -> int:
    """A price for a million tokens in US dollars as a rate, rounded to a whole nano-dollar for a million tokens."""
    return int((dollars * factor * DOLLAR).to_integral_value(ROUND_HALF_UP))


def to_dollars(nano: int) -> str:
    """Nano-dollars as decimal text in US dollars, exact, without an exponent: "0.000123", "12", "-0.5"."""
    sign = "-" if nano < 0 else ""
    whole, rest = divmod(abs(nano), DOLLAR)
    return f"{sign}{whole}.{rest:09d}".rstrip("0").rstrip(".") if rest else f"{sign}{whole}"
