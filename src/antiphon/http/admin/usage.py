"""/v1/organization/usage/*: tokens and requests, added up from the ledger."""

from __future__ import annotations

from typing import Any, NamedTuple

from antiphon.domain.ledger import Sum
from antiphon.http.admin.buckets import asked, reply_page, span_of
from antiphon.http.exchange import Exchange
from antiphon.http.query import Query
from antiphon.http.resource import Handler, Resource
from antiphon.ports import Clock, LedgerStore

_TIME = ("start_time", "end_time", "bucket_width", "limit", "page", "group_by", "project_ids")
_WHO = ("user_ids", "api_key_ids")


class _Kind(NamedTuple):
    """What an endpoint can be asked (published documentation): its further parameters, and its groups."""

    parameters: tuple[str, ...]
    group_by: tuple[str, ...]


_PLAIN = _Kind((*_WHO, "models"), ("project_id", "user_id", "api_key_id", "model"))
_BATCHED = _Kind((*_WHO, "models", "batch"), ("project_id", "user_id", "api_key_id", "model", "batch", "service_tier"))
_PROJECTS = _Kind((), ("project_id",))
#: Kinds of usage that there is none of here yet, so that their buckets are empty.
_UNUSED = {
    "embeddings": _PLAIN,
    "moderations": _PLAIN,
    "images": _Kind((*_PLAIN.parameters, "sources", "sizes"), (*_PLAIN.group_by, "size", "source")),
    "audio_speeches": _PLAIN,
    "audio_transcriptions": _PLAIN,
    "vector_stores": _PROJECTS,
    "code_interpreter_sessions": _PROJECTS,
    "file_search_calls": _Kind((*_WHO, "vector_store_ids"), (*_PLAIN.group_by[:3], "vector_store_id")),
    "web_search_calls": _Kind((*_PLAIN.parameters, "context_levels"), (*_PLAIN.group_by, "context_level")),
    "decisions": _Kind(_BATCHED.parameters, (*_BATCHED.group_by, "api_source")),
}


def resources(store: LedgerStore, clock: Clock) -> list[Resource]:
    """The paths of usage."""

    async def completions(exchange: Exchange) -> None:
        query = Query(exchange, (*_TIME, *_BATCHED.parameters))
        span = span_of(query, clock.now())
        sums = await store.usage(asked(query, span, _BATCHED.group_by, served=True))
        await reply_page(exchange, span, sums, _completions)

    def unused(kind: _Kind) -> Handler:
        async def empty(exchange: Exchange) -> None:
            query = Query(exchange, (*_TIME, *kind.parameters))
            span = span_of(query, clock.now())
            for name in query.texts("group_by"):
                query.choice("group_by", kind.group_by, name)
            await reply_page(exchange, span, [], _completions)

        return empty

    return [
        Resource("/v1/organization/usage/completions", {"GET": completions}, access="admin"),
        *(
            Resource(f"/v1/organization/usage/{name}", {"GET": unused(kind)}, access="admin")
            for name, kind in _UNUSED.items()
        ),
    ]


def _completions(one: Sum) -> dict[str, Any]:
    """Schema `UsageCompletionsResult`, without the counts of images, which no engine tells."""
    batch = one.group.get("batch")
    return {
        "object": "organization.usage.completions.result",
        "input_tokens": one.input_tokens,
        "input_cached_tokens": one.cached_tokens,
        "input_cache_write_tokens": one.cache_write_tokens,
        "input_uncached_tokens": max(0, one.input_tokens - one.cached_tokens - one.cache_write_tokens),
        "output_tokens": one.output_tokens,
        "input_audio_tokens": one.input_audio_tokens,
        "output_text_tokens": max(0, one.output_tokens - one.output_audio_tokens),
        "output_audio_tokens": one.output_audio_tokens,
        "num_model_requests": one.calls,
        "project_id": one.group.get("project_id"),
        "user_id": one.group.get("user_id"),
        "api_key_id": one.group.get("key_id"),
        "model": one.group.get("model"),
        "batch": None if batch is None else bool(batch),
        "service_tier": one.group.get("service_tier"),
    }
