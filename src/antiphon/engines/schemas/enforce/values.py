"""Which of the values that a schema lists fit all that it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jsonschema_rs

from antiphon.engines.schemas.enforce.facts import SILENT, Facts, kind_of, same

_BACKTRACK_LIMIT = 100_000
_PLAIN = frozenset({"type", "enum", "const", "$ref", "$schema", "$id", "$defs", "definitions", *SILENT})


def checker(schema: Any) -> Any:
    """A validator. Raises ValueError or `jsonschema_rs.ReferencingError` if the schema is not valid."""
    return jsonschema_rs.validator_for(
        schema,
        offline=True,  # a schema must not make us fetch addresses or read files
        validate_formats=True,
        pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACK_LIMIT),
    )


def fitting(facts: Facts, root: Any, drop: Callable[[str, str], None]) -> list[Any]:
    """The listed values that fit. `root`: the whole schema, with its definitions.

    `drop`: notes a keyword that cannot be enforced, and why.
    """
    banned = {same(value) for value in facts.excluded}
    values = [
        each
        for each in facts.values or ()
        if kind_of(each) in facts.kinds and same(each) not in banned and _is_text(each)
    ]
    if all(not spot.schema.keys() - spot.done - _PLAIN for spot in facts.spots):
        return values
    more = {key: root[key] for key in ("$defs", "definitions", "$schema") if key in root}
    wanted = [
        {key: value for key, value in spot.schema.items() if key not in spot.done and not key.startswith("\0")}
        for spot in facts.spots
    ]
    try:
        check = checker({**more, "allOf": wanted})
        return [value for value in values if check.is_valid(value)]
    except (ValueError, jsonschema_rs.ReferencingError):
        drop("enum", "its values cannot be checked against the keywords beside it")
        return values


def _is_text(value: Any) -> bool:
    """Whether a value can be written as JSON in UTF-8: no half characters, no endless numbers."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        return False
    return True
