"""What a generation is found by: the same for each choice of a completion, in whatever order they come to it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from antiphon.engines.scripted import ScriptedEngine, saying
from antiphon.policy.cache.key import Keys
from antiphon.policy.call import GenerationContext
from support.caching import ScriptedRoute, a_call, asking


def keys_of(order: Sequence[int]) -> list[bytes]:
    """The keys of three choices of one call that come in this order, each at its place."""

    async def main() -> list[bytes]:
        keys, call, route = Keys(b"s" * 32), a_call(), ScriptedRoute(ScriptedEngine(saying("words")))
        generations = [GenerationContext(call, route, asking()) for _ in order]
        for context in generations:
            call.add_generation(context)
        found = {number: await keys.key(generations[number]) for number in order}
        return [found[number] for number in range(len(order))]

    return asyncio.run(main())


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_a_choice_has_the_key_of_its_place(order: Sequence[int]) -> None:
    assert keys_of(order) == keys_of((0, 1, 2))
    assert len(set(keys_of(order))) == 3
