"""Numbers within bounds, as expressions of llguidance's Lark.

A bound is a regular expression over decimal digits; two bounds are two expressions that must both match. So bounds may
be of any size: int64's, a double's, or beyond.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor, lcm
from typing import Any

from antiphon.engines.schemas.enforce.expressions import both, either, without
from antiphon.engines.schemas.enforce.patterns import Unsupported

#: Digits of a whole number without a bound: any fits into an int64.
_DIGITS = 18
#: Digits of a bound, at the most.
_MAX_DIGITS = 60
#: Digits after the point; with more, doubles no longer tell neighbours apart.
_PLACES = 12
#: Values that are listed one by one.
_MAX_LISTED = 200
_WHOLE = r"(0|[1-9][0-9]{{0,{most}}})"
_FREE = r"/-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?([eE][+\-]?[0-9]{1,2})?/"


@dataclass(frozen=True)
class Range:
    """Bounds of a number, None where there is none; `open_` ones do not belong to it. `steps`: what it must be a
    multiple of. `whole` and `broken`: whether it may be a whole number, or may not be one."""

    low: Fraction | None = None
    low_open: bool = False
    high: Fraction | None = None
    high_open: bool = False
    steps: tuple[Fraction, ...] = ()
    whole: bool = True
    broken: bool = True

    def meet(self, other: Range) -> Range:
        """What lies in both."""
        low, low_open = _tighter((self.low, self.low_open), (other.low, other.low_open), highest=True)
        high, high_open = _tighter((self.high, self.high_open), (other.high, other.high_open), highest=False)
        steps = tuple(dict.fromkeys((*self.steps, *other.steps)))
        return Range(low, low_open, high, high_open, steps, self.whole and other.whole, self.broken and other.broken)

    @property
    def empty(self) -> bool:
        """Whether it is known that nothing lies in it."""
        if not self.whole and not self.broken:
            return True
        if self.low is None or self.high is None:
            return False
        if not self.broken or self.steps:
            tight = _tight(self)
            return tight.low is not None and tight.high is not None and tight.low > tight.high
        return self.low > self.high or (self.low == self.high and (self.low_open or self.high_open))

    @property
    def free(self) -> bool:
        """Whether any number lies in it."""
        return self == Range()


def _tighter(
    one: tuple[Fraction | None, bool], other: tuple[Fraction | None, bool], *, highest: bool
) -> tuple[Fraction | None, bool]:
    if one[0] is None or other[0] is None:
        return other if one[0] is None else one
    if one[0] == other[0]:
        return one[0], one[1] or other[1]
    return one if (one[0] > other[0]) == highest else other


def expression(wanted: Range, *, plain: bool = False) -> str:
    """An expression for the numbers in a range that is not empty. `plain`: without exponents. Raises `Unsupported`."""
    if wanted.free and not plain:
        return _FREE
    if wanted.steps:
        return _multiples(wanted)
    if not wanted.broken:
        return _bounded(_tight(wanted), places=0)
    shape = _bounded(wanted, places=_PLACES)
    return shape if wanted.whole else both(shape, r"/-?[0-9]+\.[0-9]*[1-9]/")


def _multiples(wanted: Range) -> str:
    step = _common(wanted.steps)
    tight = _tight(wanted)
    if not wanted.whole:
        raise Unsupported("multiples that are no whole numbers cannot be enforced")
    if tight.low is not None and tight.high is not None:
        count = (tight.high - tight.low) // _step(wanted) + 1
        if count <= _MAX_LISTED:
            return either([f'"{_decimal(tight.low + i * _step(wanted))}"' for i in range(int(count))])
    places = 0
    if wanted.broken:
        places = next((n for n in range(1, 7) if step == Fraction(1, 10**n)), 0)
        if places:
            return _bounded(wanted, places=places)
    whole = _tight(replace(wanted, broken=False))
    return both(_bounded(whole, places=0), _divisible(step.numerator))


def _common(steps: Iterable[Fraction]) -> Fraction:
    """The least number that is a multiple of all."""
    found = Fraction(0)
    for step in steps:
        found = step if not found else Fraction(lcm(found.numerator, step.numerator), _gcd(found, step))
    return found


def _gcd(one: Fraction, other: Fraction) -> int:
    a, b = one.denominator, other.denominator
    while b:
        a, b = b, a % b
    return a


def _step(wanted: Range) -> Fraction:
    """The distance of the values of a range."""
    step = _common(wanted.steps) if wanted.steps else Fraction(1)
    return step if wanted.broken else Fraction(step.numerator)


def _tight(wanted: Range) -> Range:
    """The same with bounds that are values themselves."""
    step = _step(wanted)
    low, high = wanted.low, wanted.high
    if low is not None:
        found = ceil(low / step)
        low = (found + (wanted.low_open and found * step == low)) * step
    if high is not None:
        last = floor(high / step)
        high = (last - (wanted.high_open and last * step == high)) * step
    return replace(wanted, low=low, low_open=False, high=high, high_open=False)


def _divisible(step: int) -> str:
    """Whole numbers that are multiples of `step`: by their last digits, or by a machine of so many states."""
    for count in range(1, 5):
        if 10**count % step == 0 and 10**count // step <= _MAX_LISTED:
            ends = "|".join(f"{value:0{count}d}" for value in range(0, 10**count, step))
            short = "|".join(str(value) for value in range(0, 10**count, step))
            return f"/-?([0-9]*({ends})|{short})/"
    raise Unsupported(f"multiples of {step} cannot be enforced without bounds close to each other")


def exactly(value: float) -> str:
    """An expression for one number, however many zeros end it; without exponents."""
    text = _decimal(Fraction(str(value)))
    whole, _, places = text.partition(".")
    return rf"/{whole}\.{places}0*/" if places else rf"/{whole}(\.0*)?/"


def for_the_engine(wanted: Range) -> dict[str, Any] | None:
    """A schema of whole numbers in the range that the engine's own compiler takes; None if there is none."""
    if not wanted.whole or not wanted.steps:
        return None
    tight = _tight(replace(wanted, broken=False))
    step, most = _step(tight), 10**15
    if step > 10**6 or (tight.low or 0) > most or (tight.high or 0) < -most:
        return None
    low = Fraction(-most) if tight.low is None else max(tight.low, Fraction(-most))
    high = Fraction(most) if tight.high is None else min(tight.high, Fraction(most))
    return {"type": "integer", "multipleOf": int(step), "minimum": int(low), "maximum": int(high)}


# --- bounds -----------------------------------------------------------------------------------------------------------
def _bounded(wanted: Range, *, places: int) -> str:
    """Numbers in the range with up to so many digits after the point."""
    digits = max(_DIGITS if not places else 15, *(_digits(bound) for bound in (wanted.low, wanted.high)))
    low = wanted.low if wanted.low is None or wanted.low > -(10**digits) else None
    high = wanted.high if wanted.high is None or wanted.high < 10**digits else None
    conditions = [_shape(digits, places)]
    if low is not None:
        conditions.append(_at_least(low, is_open=wanted.low_open))
    if high is not None:
        conditions.append(_at_most(high, is_open=wanted.high_open))
    return without(both(*conditions), r"/-0(\.0*)?/")


def _digits(bound: Fraction | None) -> int:
    """Digits that numbers need to be on the far side of a bound; only those that cannot be reached otherwise count."""
    size = len(str(abs(int(bound)))) + 1 if bound is not None else 0
    return size if size <= _MAX_DIGITS else 0


def _shape(digits: int, places: int) -> str:
    if not places:
        return f"/-?{_WHOLE.format(most=digits - 1)}/"
    small, middle = places, min(places, 6)
    return (
        rf"/-?((0|[1-9][0-9]{{0,2}})(\.[0-9]{{1,{small}}})?|[1-9][0-9]{{3,8}}(\.[0-9]{{1,{middle}}})?"
        rf"|[1-9][0-9]{{9,{digits - 1}}})/"
    )


def _at_least(bound: Fraction, *, is_open: bool) -> str:
    if bound < 0:
        return f"/[0-9].*|-({_below(-bound, is_open=is_open)})/"
    return f"/{_above(bound, is_open=is_open)}/"


def _at_most(bound: Fraction, *, is_open: bool) -> str:
    negative = f"-({_above(Fraction(0), is_open=True)})"
    if bound < 0:
        return f"/-({_above(-bound, is_open=is_open)})/"
    if bound == 0 and is_open:
        return f"/{negative}/"
    return f"/{negative}|{_below(bound, is_open=is_open)}/"


def _above(bound: Fraction, *, is_open: bool) -> str:
    """Numbers without a sign that are greater than `bound`, or equal if it is not open."""
    whole, places = _places(bound, up=True)
    options = [rf"({_whole_from(whole + 1)})(\.[0-9]+)?"]
    rest = []
    for i, digit in enumerate(places):
        if digit != "9":
            rest.append(f"{places[:i]}[{int(digit) + 1}-9][0-9]*")
    if not places:
        options.append(rf"{whole}\.[0-9]*[1-9][0-9]*" if is_open else rf"{whole}(\.[0-9]+)?")
    else:
        rest.append(f"{places}[0-9]*[1-9][0-9]*" if is_open else f"{places}[0-9]*")
        options.append(rf"{whole}\.({'|'.join(rest)})")
    return "|".join(options)


def _below(bound: Fraction, *, is_open: bool) -> str:
    """Numbers without a sign that are less than `bound`, or equal if it is not open. None for an open 0."""
    whole, places = _places(bound, up=False)
    options = [rf"({_whole_to(whole - 1)})(\.[0-9]+)?"] if whole else []
    rest = []
    for i, digit in enumerate(places):
        if digit != "0":
            rest.append(f"{places[:i]}[0-{int(digit) - 1}][0-9]*")
        if i:
            rest.append(places[:i])
    if not is_open:
        rest.append(f"{places}0*" if places else "0+")
    if places or not is_open:
        options.append(rf"{whole}(\.({'|'.join(rest)}))?")
    return "|".join(options)


def _places(bound: Fraction, *, up: bool) -> tuple[int, str]:
    """The whole part and the digits after the point, rounded to as many as numbers may have."""
    scaled = bound * 10**_PLACES
    whole, places = divmod(ceil(scaled) if up else floor(scaled), 10**_PLACES)
    if len(str(whole)) > _MAX_DIGITS:
        raise Unsupported("its bounds have too many digits")
    return whole, f"{places:0{_PLACES}d}".rstrip("0")


def _whole_from(least: int) -> str:
    """Whole numbers of at least `least`, which is above 0."""
    text = str(least)
    options = [f"[1-9][0-9]{{{len(text)},}}", text]
    options += [
        f"{text[:i]}[{int(digit) + 1}-9][0-9]{{{len(text) - i - 1}}}" for i, digit in enumerate(text) if digit != "9"
    ]
    return "|".join(options)


def _whole_to(most: int) -> str:
    """Whole numbers from 0 to `most`."""
    text = str(most)
    options = ["0", text]
    if len(text) > 1:
        options.append(f"[1-9][0-9]{{0,{len(text) - 2}}}")
    for i, digit in enumerate(text):
        first = 1 if i == 0 else 0
        if int(digit) > first:
            options.append(f"{text[:i]}[{first}-{int(digit) - 1}][0-9]{{{len(text) - i - 1}}}")
    return "|".join(options)


def _decimal(value: Fraction) -> str:
    """A fraction of a power of ten as JSON."""
    if value.denominator == 1:
        return str(value.numerator)
    places = next((n for n in range(1, 40) if (value * 10**n).denominator == 1), None)
    if places is None:
        raise Unsupported("a multiple has no end after its point")
    sign, scaled = ("-" if value < 0 else ""), abs(int(value * 10**places))
    whole, rest = divmod(scaled, 10**places)
    return f"{sign}{whole}.{rest:0{places}d}"
