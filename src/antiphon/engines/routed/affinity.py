"""Sending what begins alike to the same target, whose cache of prompts knows that beginning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b

from antiphon.domain import limits
from antiphon.engines.routed.target import Target
from antiphon.protocol.generation import Generation, Message


def key_of(generation: Generation) -> str:
    """What decides where a generation belongs: what its client says, else how its prompt begins.

    That is: the instructions and the first user message. Later turns of a conversation keep it.
    """
    if generation.affinity is not None:
        return generation.affinity
    pieces: list[str] = []
    room = limits.AFFINITY_CHARS
    for turn in generation.turns:
        if not isinstance(turn, Message):
            continue
        text = turn.text[:room]
        pieces.append(text)
        room -= len(text)
        if turn.role == "user" or room <= 0:
            break
    return "\n".join(pieces)


def ranked(key: str, targets: Sequence[Target]) -> list[Target]:
    """The targets, best first, by weighted rendezvous hashing.

    Each target draws a number from the key and its own name; the order depends on nothing else. When a target comes or
    goes, only the keys that belong to it move (Thaler and Ravishankar, "Using name-based mappings to increase hit
    rates", 1998; weights as in Schindelhauer and Schomaker, "Weighted distributed hash tables", 2005).
    """
    seed = key.encode("utf-8", "surrogatepass")
    return sorted(targets, key=lambda target: _distance(seed, target))


def _distance(seed: bytes, target: Target) -> float:
    drawn = blake2b(seed, digest_size=8, key=str(target.name).encode("utf-8", "surrogatepass")[:64]).digest()
    share = (int.from_bytes(drawn, "big") + 1) / (2**64 + 1)
    return -math.log(share) / target.spec.weight


def spared(order: Sequence[Target]) -> list[Target]:
    """The same order, but targets with much more than their share of the load come last."""
    load = sum(target.health.outstanding for target in order) + 1
    weight = sum(target.spec.weight for target in order)

    def overloaded(target: Target) -> bool:
        share = load * target.spec.weight / weight
        return target.health.outstanding > limits.AFFINITY_LOAD * share + limits.AFFINITY_SPARE

    return sorted(order, key=overloaded)
