"""Check a decoded request against the published API, and say what is wrong with it as OpenAI would."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

from antiphon.wire import problems
from antiphon.wire.problems import Problem
from antiphon.wire.shapes import Compiler, Rule, Shape

__all__ = ["Problem", "Result", "check", "check_shape", "members"]


#: Codes of problems that a server which knows more than the published API may not have.
_UNKNOWN = frozenset({"unknown_parameter", "invalid_value"})


class Result(NamedTuple):
    """`problem`: the first thing wrong, or None. `unknown`: top-level members that the published API does not have.

    `nested`: what would be wrong if nobody knew more than the published API: the first member of a nested object, or
    type of object, that it does not have.
    """

    problem: Problem | None
    unknown: tuple[str, ...]
    nested: Problem | None = None


def check(schema_name: str, value: object) -> Result:
    """Check `value` (decoded JSON) as a `schema_name`, the published document's name of a request body.

    An optional member that is null counts as left out, here and in nested objects; whoever reads the request must do
    the same. Unknown members are only told of: an upstream may know them. Raises KeyError for a schema name that there
    is not.
    """
    members, rule = _root(schema_name, lenient=False)
    if not isinstance(value, dict):
        text = f"Invalid request body: expected an object, but got {problems.a_type(value)} instead."
        return Result(Problem(text, None, "invalid_type"), ())
    nested = None
    try:
        fault = rule(value)
        if fault is not None and fault.code in _UNKNOWN:
            # Seldom enough to look twice: whether that is all.
            again = _root(schema_name, lenient=True)[1](value)
            fault, nested = (again, None) if again is not None else (None, fault.problem())
    except RecursionError:
        return Result(Problem("The request body is nested too deeply.", None, "invalid_value"), ())
    unknown = tuple(name for name in value if name not in members)
    return Result(fault.problem() if fault is not None else None, unknown, nested)


def check_shape(shape: Shape, value: object) -> Problem | None:
    """Check `value` against an object shape of our own, which may refer to the published ones by name."""
    if not isinstance(value, dict):
        text = f"Invalid request body: expected an object, but got {problems.a_type(value)} instead."
        return Problem(text, None, "invalid_type")
    try:
        fault = _compiler().object_rule(shape["object"])(value)
    except RecursionError:
        return Problem("The request body is nested too deeply.", None, "invalid_value")
    return fault.problem() if fault is not None else None


def members(schema_name: str, names: Iterable[str]) -> dict[str, Shape]:
    """The shapes of some members of a published request body."""
    properties = _compiler().resolve({"ref": schema_name})["object"]["properties"]
    return {name: properties[name] for name in names}


@cache
def _compiler(*, lenient: bool = False) -> Compiler:
    # Read when the first request comes: most commands of the CLI never need it.
    from importlib.resources import files

    import msgspec

    bundle: dict[str, Any] = msgspec.json.decode(files("antiphon.wire").joinpath("requests.json").read_bytes())
    return Compiler(bundle, lenient=lenient)


@cache
def _root(schema_name: str, *, lenient: bool) -> tuple[frozenset[str], Rule]:
    compiler = _compiler(lenient=lenient)
    rules = compiler.resolve({"ref": schema_name})["object"]
    return frozenset(rules["properties"]), compiler.object_rule(rules, tolerant=True)
