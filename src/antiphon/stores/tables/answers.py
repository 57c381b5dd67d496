"""Answers that may be given again, and what is counted of them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, Table, Text, text

from antiphon.stores.tables.base import metadata

# `fingerprint`: of the request's method, path and body. No `status`: the first request is still running, held by
# `owner`, and waited for until `locked_until` (Unix milliseconds). A `status` without a `body`: its answer is not kept.
# `object_id`: what the answer shows; when that is deleted, so is the answer.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("project_id", Text, ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    Column("key", LargeBinary, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("owner", Text, nullable=False),
    Column("locked_until", BigInteger, nullable=False),
    Column("status", Integer),
    Column("content_type", Text),
    Column("body", LargeBinary),
    Column("object_id", Text),
    Index("ix_idempotency_keys_created_at", "created_at"),
    Index("ix_idempotency_keys_project_id_object_id", "project_id", "object_id"),
)

# Answers that may be given again. `key` is a keyed hash of what was asked; `body` the answer's deltas; `upstream` and
# `model` name the target that made it.
cached_answers = Table(
    "cached_answers",
    metadata,
    Column("project_id", Text, ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    Column("key", LargeBinary, primary_key=True),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("upstream", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("ix_cached_answers_project_id_created_at", "project_id", "created_at"),
    Index("ix_cached_answers_created_at", "created_at"),
    Index("ix_cached_answers_expires_at", "expires_at"),
)

# One row for each project that has a cache or a rule for it. `ttl`: seconds; null: each route's own rule; 0: none at
# all. `size`: the sum of its answers' sizes, so that no write has to add them up.
caches = Table(
    "caches",
    metadata,
    Column("project_id", Text, ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    Column("ttl", BigInteger),
    Column("size", BigInteger, nullable=False, server_default=text("0")),
)

# Which key used what its maker shuts down: `subject` is "model:NAME" or "endpoint:PATH", `last_day` the start of the
# last day (UTC) on which it did.
retiring_uses = Table(
    "retiring_uses",
    metadata,
    Column("project_id", Text, ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("last_day", BigInteger, nullable=False),
    Column("count", BigInteger, nullable=False),
)
