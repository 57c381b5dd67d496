"""What can be wrong with a request, in OpenAI's own words and codes."""

from __future__ import annotations

from typing import NamedTuple

#: Text from the request is shown in a message up to this many characters.
MAX_SHOWN = 64


class Problem(NamedTuple):
    """One thing wrong with a request. `param` is the path of the member, such as `input[2].content[0].text`."""

    message: str
    param: str | None
    code: str


class Fault:
    """A problem on its way out of the nested rules, which add the path from the inside to the outside.

    The message is `before` + path + `after`; with `after` None the path is not part of it.
    """

    __slots__ = ("after", "before", "code", "trace")

    def __init__(self, code: str, before: str, after: str | None, *trace: str | int) -> None:
        self.code = code
        self.before = before
        self.after = after
        self.trace: list[str | int] = list(trace)

    def problem(self) -> Problem:
        """The finished problem."""
        path = join_path(self.trace[::-1])
        return Problem(self.before + (path + self.after if self.after is not None else ""), path or None, self.code)


def join_path(parts: list[str | int]) -> str:
    """`["input", 2, "text"]` as `input[2].text`."""
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{show(part)}" if path else show(part)
    return path


def show(text: str) -> str:
    """`text` as a message may hold it: not too long, and always encodable."""
    if len(text) > MAX_SHOWN:
        text = text[:MAX_SHOWN] + "..."
    return text.encode("utf-8", "replace").decode("utf-8")


def show_number(value: float) -> str:
    """A number as a message may hold it: an integer of thousands of digits is only described."""
    if isinstance(value, int) and not -(10**30) < value < 10**30:
        return "a much larger number" if value > 0 else "a much smaller number"
    return str(value)


def a_type(value: object) -> str:
    """What a JSON value is, with its article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    names = {str: "a string", int: "an integer", float: "a decimal", list: "an array", dict: "an object"}
    return names.get(type(value), "an unsupported value")


def one_of(values: list[str]) -> str:
    """`'a', 'b', and 'c'`, sorted."""
    quoted = [f"'{value}'" for value in sorted(values)]
    if len(quoted) < 3:
        return " and ".join(quoted)
    return ", ".join(quoted[:-1]) + ", and " + quoted[-1]


# --- each kind of problem ---------------------------------------------------------------------------------------------
def unknown_parameter() -> Fault:
    """A member that its object does not have."""
    return Fault("unknown_parameter", "Unknown parameter: '", "'.")


def missing_parameter(name: str) -> Fault:
    """A member that its object must have."""
    return Fault("missing_required_parameter", "Missing required parameter: '", "'.", name)


def wrong_type(expected: str, value: object) -> Fault:
    """A value of another JSON type than asked for. `expected` comes with its article."""
    return Fault("invalid_type", "Invalid type for '", f"': expected {expected}, but got {a_type(value)} instead.")


def wrong_value(value: str, supported: list[str]) -> Fault:
    """A string outside its enumeration."""
    if len(supported) == 1:
        text = f"Invalid value: '{show(value)}'. Value must be '{supported[0]}'."
    else:
        text = f"Invalid value: '{show(value)}'. Supported values are: {one_of(supported)}."
    return Fault("invalid_value", text, None)


def wrong_pattern(pattern: str) -> Fault:
    """A string that does not match its pattern."""
    after = f"': string does not match pattern. Expected a string that matches the pattern '{pattern}'."
    return Fault("invalid_value", "Invalid '", after)


def out_of_range(kind: str, value: float, limit: float, *, above: bool) -> Fault:
    """A number over its maximum or under its minimum. `kind`: "integer" or "decimal"."""
    side, sign, word = ("above", "<=", "maximum") if above else ("below", ">=", "minimum")
    after = f"': {kind} {side} {word} value. Expected a value {sign} {limit}, but got {show_number(value)} instead."
    return Fault(f"{kind}_{side}_{word[:3]}_value", "Invalid '", after)


def too_long(kind: str, size: int, limit: int) -> Fault:
    """A string (`limit` in characters) or an array over its maximum length."""
    article = "an" if kind == "array" else "a"
    expected = f"Expected {article} {kind} with maximum length {limit}, but got {article} {kind} with length {size}"
    return Fault(f"{kind}_above_max_length", "Invalid '", f"': {kind} too long. {expected} instead.")


def too_short(kind: str, size: int, limit: int) -> Fault:
    """A string (`limit` in characters) or an array under its minimum length; an empty one has a code of its own."""
    article = "an" if kind == "array" else "a"
    expected = f"Expected {article} {kind} with minimum length {limit}, but got"
    if size == 0:
        return Fault(f"empty_{kind}", "Invalid '", f"': empty {kind}. {expected} an empty {kind} instead.")
    after = f"': {kind} too short. {expected} {article} {kind} with length {size} instead."
    return Fault(f"{kind}_below_min_length", "Invalid '", after)


def too_many_members(size: int, limit: int) -> Fault:
    """An object with more members than it may have."""
    expected = f"Expected an object with at most {limit} properties, but got an object with {size} properties instead."
    return Fault("object_above_max_properties", "Invalid '", f"': too many properties. {expected}")
