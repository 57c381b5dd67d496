"""Fields that many local servers have taken over from one another, and the local engine serves as well.

They are not in the published API. Upstreams get them as they were sent; here they are checked, and become part of a
`Generation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest
from antiphon.protocol.generation import Generation
from antiphon.protocol.refusals import unknown_parameter
from antiphon.protocol.unknown import Unknown
from antiphon.wire import schema
from antiphon.wire.shapes import Shape

Surface = Literal["chat", "responses"]

_PENALTY: Shape = {"number": {"minimum": 0.01, "maximum": 10}}
_SHAPES: dict[str, Shape] = {
    # Some say "all" with 0, some with -1.
    "top_k": {"integer": {"minimum": -1, "maximum": limits.MAX_TOP_K}},
    "min_p": {"number": {"minimum": 0, "maximum": 1}},
    "typical_p": {"number": {"minimum": 0, "maximum": 1}},
    "repetition_penalty": _PENALTY,
    "repeat_penalty": _PENALTY,
    "chat_template_kwargs": {"object": {"properties": {}, "required": [], "others": {"any": True}}},
}
_SEED: Shape = {"integer": {"minimum": -(2**63), "maximum": 2**63 - 1}}
#: By surface: Chat Completions has a seed of its own.
_KNOWN: dict[Surface, dict[str, Shape]] = {"chat": _SHAPES, "responses": {**_SHAPES, "seed": _SEED}}


def serve(generation: Generation, unknown: Unknown, surface: Surface, *, passes: bool) -> Generation:
    """The generation with what of these fields the local engine serves.

    `passes`: some target is a server behind this one, which may know more; then `Generation.foreign` says what the
    local engine cannot be asked. Otherwise raises `InvalidRequest` for what it does not know.
    """
    if not unknown.fields and unknown.nested is None:
        return generation
    try:
        if unknown.nested is not None:
            raise unknown.nested
        return _read(generation, unknown.fields, _KNOWN[surface])
    except InvalidRequest:
        if not passes:
            raise
        return msgspec.structs.replace(generation, foreign=True)


def refuse(unknown: Unknown, surface: Surface) -> None:
    """Raise `InvalidRequest` for what the local engine does not know, or not like that."""
    serve(_ANY, unknown, surface, passes=False)


_ANY = Generation("", ())


def _read(generation: Generation, fields: Mapping[str, Any], known: Mapping[str, Shape]) -> Generation:
    for name in fields:
        if name not in known:
            raise unknown_parameter(name)
    problem = schema.check_shape({"object": {"properties": known, "required": []}}, dict(fields))
    if problem is not None:
        raise InvalidRequest(problem.message, code=problem.code, param=problem.param)
    given = {name: value for name, value in fields.items() if value is not None}
    template = given.pop("chat_template_kwargs", {})
    if "repeat_penalty" in given:
        given.setdefault("repetition_penalty", given.pop("repeat_penalty"))
        given.pop("repeat_penalty", None)
    for name in ("top_k", "seed"):
        if name in given:
            given[name] = int(given[name])
    if "top_k" in given:
        given["top_k"] = max(0, given["top_k"])
    sampling = msgspec.structs.replace(generation.sampling, **given)
    return msgspec.structs.replace(generation, sampling=sampling, template=template)
