"""The context that memory allows."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.models.catalog import ChatSettings
from antiphon.models.context import ContextPlan, plan_context, pool_of
from antiphon.models.resolve import ResolvedModel, resolve

GIB = 2**30


def planned(
    available: int | None, *, asked: int | None = None, slots: int = 2, trained: int | None = 32_768
) -> ContextPlan:
    file = resolve("qwen2.5-coder-0.5b", Path("/nowhere"))
    model = ResolvedModel(file.name, file.path, trained, file.kv_bytes, ChatSettings(), file.entry)
    return plan_context(model, slots=slots, cache_ram_mib=256, asked=asked, available=available)


def test_where_there_is_room_the_context_is_long_and_shared() -> None:
    plan = planned(8 * GIB)
    assert (plan.context, plan.pool) == (32_768, 32_768)
    assert plan.kv_memory == 32_768 * 12_288
    assert plan.fits


@pytest.mark.parametrize(
    ("available", "context"), [(int(1.7 * GIB), 32_768), (int(1.5 * GIB), 16_384), (int(1.4 * GIB), 8_192), (0, 4_096)]
)
def test_less_where_memory_is_short(available: int, context: int) -> None:
    plan = planned(available)
    assert plan.context == context
    assert plan.fits == (available > 0)


def test_never_beyond_what_was_trained() -> None:
    assert planned(8 * GIB, trained=8192).context == 8192
    assert planned(8 * GIB, trained=6000).context == 6000
    assert planned(8 * GIB, asked=100_000).context == 32_768
    assert planned(None, asked=100_000, trained=None).context == 100_000


def test_what_was_asked_for_is_taken_whether_it_fits_or_not() -> None:
    plan = planned(GIB // 2, asked=16_384)
    assert (plan.context, plan.fits) == (16_384, False)


def test_a_system_that_does_not_say_has_room() -> None:
    assert planned(None).context == 32_768


def test_short_contexts_are_not_shared() -> None:
    assert pool_of(1024, 4) == 4096
    assert pool_of(4096, 2) == 8192
    assert pool_of(16_384, 2) == 16_384
    assert pool_of(16_384, 8) == 32_768


def test_many_slots_cost_memory() -> None:
    assert planned(8 * GIB, slots=16).pool == 65_536
