"""What calls cost, and what they may."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, Table, Text, text

from antiphon.stores.tables.base import SEQUENCE, metadata

# One row for every call that asked a model for something. It outlives its project and key: what was spent stays spent.
# Money is in nano-dollars, `at` in Unix milliseconds.
ledger = Table(
    "ledger",
    metadata,
    Column("seq", SEQUENCE, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("at", BigInteger, nullable=False),
    Column("project_id", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("user_id", Text),
    Column("endpoint", Text, nullable=False),
    Column("model", Text),
    Column("served", Text),
    Column("route", Text),
    Column("targets", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("fallback", Integer, nullable=False),
    Column("kept", Integer, nullable=False),
    Column("status", Integer, nullable=False),
    Column("error", Text),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("cache_write_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("input_audio_tokens", BigInteger, nullable=False),
    Column("output_audio_tokens", BigInteger, nullable=False),
    Column("estimated", Integer, nullable=False),
    Column("cost", BigInteger),
    Column("saved", BigInteger),
    Column("price_version", Text, nullable=False),
    Column("batch", Integer, nullable=False),
    Column("service_tier", Text, nullable=False),
    Column("streamed", Integer, nullable=False),
    Column("background", Integer, nullable=False),
    Column("first_ms", BigInteger),
    Column("total_ms", BigInteger, nullable=False),
    Column("object_id", Text),
    Column("request_id", Text, nullable=False),
    # As few as can be: each costs every call.
    Index("ix_ledger_at_project_id", "at", "project_id"),
    Index("ix_ledger_object_id", "object_id"),
)

HARD = "hard = 1"

# `spent` belongs to the window that began at `window`; a later window begins with nothing. `reserved` is what calls
# that are being made may come to cost, and belongs to no window. `subject` is empty for the organisation.
budgets = Table(
    "budgets",
    metadata,
    Column("seq", SEQUENCE, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("scope", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("period", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("hard", Integer, nullable=False),
    Column("allow_unknown", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("channel", LargeBinary),
    Column("window", BigInteger, nullable=False),
    Column("spent", BigInteger, nullable=False),
    Column("reserved", BigInteger, nullable=False),
    Column("alerted", BigInteger, nullable=False),
    Index(
        "ix_budgets_hard",
        "scope",
        "subject",
        "period",
        unique=True,
        sqlite_where=text(HARD),
        postgresql_where=text(HARD),
    ),
)

# `budgets`: ids with commas between. After `until` (Unix milliseconds) its server is taken for dead. `object_id`: the
# background response that it is for, which another server goes on with.
reservations = Table(
    "reservations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("budgets", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),
    Column("object_id", Text),
    Index("ix_reservations_object_id", "object_id"),
    Index("ix_reservations_until", "until"),
    Index("ix_reservations_owner", "owner"),
)
