"""How long the conversations are that a local model can hold here: chosen by the memory that there is."""

from __future__ import annotations

from dataclasses import dataclass

from antiphon.domain import limits
from antiphon.models.resolve import ResolvedModel

#: Memory beside the KV cache, as measured: the file and half as much again (weights in the form that the processor
#: likes, buffers of the computation), and the two processes.
_FILE_SHARE, _PROCESSES = 1.5, 100 * limits.MIB
#: What a token takes where the file does not say: more than any model that fits the memory of small machines.
_KV_BYTES = 128 * limits.KIB


@dataclass(frozen=True, slots=True)
class ContextPlan:
    """`context`: tokens of one request, prompt and answer together. `pool`: tokens that all slots hold together.

    `kv_memory`, `needed`: bytes of the KV cache, and of everything that the model needs. `available`: bytes that there
    are, or None where the system does not say.
    """

    context: int
    pool: int
    kv_memory: int
    needed: int
    available: int | None

    @property
    def fits(self) -> bool:
        """Whether there is memory for it."""
        return self.available is None or self.needed <= self.available


def pool_of(context: int, slots: int) -> int:
    """Tokens that `slots` slots share, of which one request may have `context`.

    One long conversation may take all of them. Short contexts are not shared: each slot has its own then.
    """
    return max(context, slots * min(context, limits.ENGINE_SLOT_TOKENS))


def plan_context(
    model: ResolvedModel, *, slots: int, cache_ram_mib: int, asked: int | None, available: int | None
) -> ContextPlan:
    """The context that was asked for, or the longest for which there is memory, never beyond what was trained."""
    trained = model.trained_context or max(limits.ENGINE_CONTEXTS)
    kv_bytes = model.kv_bytes or _KV_BYTES
    beside = int(model.size * _FILE_SHARE) + _PROCESSES + cache_ram_mib * limits.MIB

    def plan(context: int) -> ContextPlan:
        pool = pool_of(context, slots)
        return ContextPlan(context, pool, pool * kv_bytes, beside + pool * kv_bytes, available)

    if asked is not None:
        return plan(min(asked, model.trained_context or asked))
    plans = [plan(min(context, trained)) for context in limits.ENGINE_CONTEXTS]
    room = None if available is None else available - limits.ENGINE_SPARE_MEMORY
    return next((plan for plan in plans if room is None or plan.needed <= room), plans[-1])
