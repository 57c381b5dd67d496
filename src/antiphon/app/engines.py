"""The engine behind each target: the built-in one, and those of upstreams."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from antiphon.domain.routing import Deadlines, TargetSpec
from antiphon.engines.schemas.worker import SchemaWorker
from antiphon.engines.upstream.client import UpstreamClient
from antiphon.models.context import plan_context
from antiphon.models.resolve import ResolvedModel
from antiphon.ports import Engine
from antiphon.settings import Settings
from antiphon.settings.machine import available_memory


def upstream_engine(
    client: UpstreamClient, target: TargetSpec, model: str, deadlines: Deadlines, worker: SchemaWorker
) -> Engine:
    """The engine for a target of an upstream, by its kind. `worker` checks schemas; all engines share it."""
    # Only a server with upstreams needs them.
    from antiphon.engines.upstream.antiphon import AntiphonEngine
    from antiphon.engines.upstream.chat.dialect import ChatDialect
    from antiphon.engines.upstream.engine import UpstreamEngine
    from antiphon.engines.upstream.responses.dialect import ResponsesDialect

    kinds: Mapping[str, Callable[..., Engine]] = {
        "chat": partial(UpstreamEngine, ChatDialect),
        "responses": partial(UpstreamEngine, ResponsesDialect),
        "antiphon": AntiphonEngine,
    }
    make = kinds[client.spec.kind]
    return make(client, model, deadlines=deadlines, context_tokens=target.context_tokens, worker=worker)


def local_engine(settings: Settings, model: ResolvedModel) -> Engine:
    """The built-in engine for this model, not started yet."""
    from antiphon.engines.llama.config import LlamaConfig  # not needed with another engine
    from antiphon.engines.llama.engine import LlamaEngine

    planned = plan_context(
        model,
        slots=settings.slots,
        cache_ram_mib=settings.cache_ram_mib,
        asked=settings.context,
        available=available_memory(),
    )
    return LlamaEngine(
        LlamaConfig(
            model=model.path,
            name=model.name,
            slots=settings.slots,
            context=planned.context,
            trained_context=model.trained_context,
            threads=settings.threads,
            pinning=settings.pin or None,
            cache_ram_mib=settings.cache_ram_mib,
            queue=settings.slots * settings.queue_per_slot,
            chat=model.chat,
        )
    )
