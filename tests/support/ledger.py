"""Entries of the ledger with short names."""

from __future__ import annotations

from typing import Any

from antiphon.domain.ledger import Entry


def entry(name: str, **members: Any) -> Entry:
    """An entry with the id `name`."""
    values: dict[str, Any] = {
        "id": name,
        "at": 1_700_000_000_000,
        "project_id": "proj_one",
        "key_id": "key_one",
        "user_id": None,
        "endpoint": "/v1/responses",
        "model": "model-a",
        "served": None,
        "route": "model-a",
        "targets": "local/model-a",
        "attempts": 1,
        "fallback": 0,
        "kept": 0,
        "status": 200,
        "error": None,
        "input_tokens": 0,
        "cached_tokens": 0,
        "cache_write_tokens": 0,
        "output_tokens": 0,
        "reasoning_tokens": 0,
        "input_audio_tokens": 0,
        "output_audio_tokens": 0,
        "estimated": 0,
        "cost": 0,
        "saved": 0,
        "price_version": "local",
        "batch": 0,
        "service_tier": "default",
        "streamed": 0,
        "background": 0,
        "first_ms": None,
        "total_ms": 1,
        "object_id": None,
        "request_id": f"req_{name}",
    }
    return Entry(**values | members)
