"""The ledger: one entry for every call that asked a model for something."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

import msgspec


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One call. `at` is when it began (Unix milliseconds); names of members are those of the table's columns.

    `model` is the name that was asked for, `served` the target's own; `targets` all that were tried, as
    "upstream/model", with commas between. `fallback`: not one of the route's first choice served. Costs are in
    nano-dollars; None: unknown. `saved`: what a kept answer would have cost. `first_ms`, `total_ms`: until the first
    delta, and until the end. `estimated`: the tokens are our own count. `error`: the code of what went wrong.
    """

    id: str
    at: int
    project_id: str
    key_id: str
    user_id: str | None
    endpoint: str
    model: str | None
    served: str | None
    route: str | None
    targets: str
    attempts: int
    fallback: int
    kept: int
    status: int
    error: str | None
    input_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    input_audio_tokens: int
    output_audio_tokens: int
    estimated: int
    cost: int | None
    saved: int | None
    price_version: str
    batch: int
    service_tier: str
    streamed: int
    background: int
    first_ms: int | None
    total_ms: int
    object_id: str | None
    request_id: str


#: What usage can be grouped by.
Dimension = Literal["project_id", "user_id", "key_id", "model", "batch", "service_tier", "day"]


@dataclass(frozen=True, slots=True)
class Asked:
    """Which entries are added up, and how. `start` inclusive, `end` exclusive, `width` of a bucket: Unix seconds.

    Empty filters let everything through. `served`: only calls that came to ask a target.
    """

    start: int
    end: int
    width: int
    group_by: tuple[Dimension, ...] = ()
    projects: Collection[str] = ()
    users: Collection[str] = ()
    keys: Collection[str] = ()
    models: Collection[str] = ()
    batch: bool | None = None
    served: bool = False


@dataclass(frozen=True, slots=True)
class Sum:
    """Entries of one bucket that belong together. `bucket` is its beginning (Unix seconds), a multiple of the width.

    `group` has a value for each dimension that was asked for. `cost` is the sum of those that are known, `unknown` how
    many are not; both in nano-dollars.
    """

    bucket: int
    group: dict[str, str | int | None] = field(hash=False)
    calls: int
    input_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    input_audio_tokens: int
    output_audio_tokens: int
    cost: int
    saved: int
    unknown: int
    failed: int
