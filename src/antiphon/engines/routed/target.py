"""A target of a route, ready to be asked; and whether it can do what a generation asks for."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from antiphon.domain.route_trace import TargetName
from antiphon.domain.routing import TargetSpec
from antiphon.engines.routed.health import Health
from antiphon.ports import Capabilities, Engine
from antiphon.protocol.generation import AudioPart, FilePart, Generation, ImagePart, Message


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """An engine as a route asks it. `name.model` is what the engine is asked for.

    `punctual`: the engine keeps the route's deadlines by itself.
    """

    name: TargetName
    spec: TargetSpec
    engine: Engine
    health: Health
    punctual: bool = False


def fits(can: Capabilities, generation: Generation) -> bool:
    """Whether a target can do what is asked, as far as its capabilities tell."""
    if generation.foreign and not can.passes_extra:
        return False
    passthrough = generation.passthrough
    if passthrough is not None and passthrough.only and passthrough.surface not in can.passthrough:
        return False
    if generation.sampling.top_logprobs is not None and not can.logprobs:
        return False
    if generation.sampling.logit_bias and not can.logit_bias:
        return False
    if can.images and can.files and can.audio:
        return True
    return all(
        (can.images or not isinstance(part, ImagePart))
        and (can.files or not isinstance(part, FilePart))
        and (can.audio or not isinstance(part, AudioPart))
        for turn in generation.turns
        if isinstance(turn, Message)
        for part in turn.parts
    )


def together(capabilities: list[Capabilities]) -> Capabilities:
    """What some of several targets can do.

    Going on with an answer that was cut off takes the very engine that began it, so only a single target `continues`.
    """
    first = capabilities[0]
    if len(capabilities) == 1:
        return first
    joined: dict[str, Any] = {}
    for field in fields(Capabilities):
        values = [getattr(each, field.name) for each in capabilities]
        if isinstance(values[0], frozenset):
            joined[field.name] = frozenset().union(*values)
        else:  # numbers and flags: the most that any has
            joined[field.name] = max(values)
    joined["continues"] = False
    return Capabilities(**joined)
