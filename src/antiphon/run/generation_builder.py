"""Makes the generations of one request: for any part of its conversation, as often as it has to be asked again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from antiphon.ports import Engine
from antiphon.protocol import knobs
from antiphon.protocol.generation import Generation, Turn
from antiphon.protocol.refusals import Unserved
from antiphon.protocol.responses.compaction import Placed
from antiphon.protocol.responses.passthrough import passthrough
from antiphon.protocol.responses.request import ResponseRequest
from antiphon.protocol.unknown import Unknown
from antiphon.run import context
from antiphon.run.compaction import turns_of


def relays(engine: Engine) -> bool:
    """Whether the engine may get a request of the Responses API as it is."""
    return "responses" in engine.capabilities.passthrough


@dataclass(frozen=True, slots=True)
class GenerationBuilder:
    """What all generations of a request have in common.

    `request`: with the changes that its conversation makes to it (`updates.applied`). `unknown`: fields that Antiphon
    does not know. `unserved`: why only a server of the same API that gets the request as it is can answer it, if so.
    """

    engine: Engine
    request: ResponseRequest
    unknown: Unknown
    unserved: Unserved | None

    def build(self, turns: Sequence[Turn]) -> Generation:
        """A generation with these turns, whether they fit into the context or not."""
        generation = self.request.generation(self.engine.name, turns)
        return knobs.serve(generation, self.unknown, "responses", passes=self.engine.capabilities.passes_extra)

    async def build_answer(self, places: Sequence[Placed], turns: Sequence[Turn] | None = None) -> Generation:
        """The generation of the answer to these items. `turns`: theirs, if they are known already.

        Where the request asks for it (`truncation`), only as many turns as fit. An engine that gets the request as it
        is makes it fit by itself.
        """
        turns = turns_of(places) if turns is None else turns
        if relays(self.engine):
            asked = passthrough(self.request, (place.item for place in places), only=self.unserved is not None)
            return msgspec.structs.replace(self.build(turns), passthrough=asked)
        return await context.fit(self.engine, self.build, turns) if self.request.truncate else self.build(turns)
