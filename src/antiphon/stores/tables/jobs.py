"""Jobs, and the servers that run them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, Table, Text, UniqueConstraint, text

from antiphon.stores.tables.base import SEQUENCE, metadata

#: Conditions of partial indexes. Text, because SQLite uses such an index only for literally the same condition.
JOB_OPEN = "state IN ('queued', 'running')"
JOB_QUEUED = "state = 'queued'"
JOB_LOST = "losses > 0 AND state = 'queued'"
JOB_CANCELLED = "cancel_requested = 1 AND state IN ('queued', 'running')"
JOB_HELD = "holder IS NOT NULL"
JOB_ENDED = "finished_at IS NOT NULL"
_ONCE = f"dedupe_key IS NOT NULL AND {JOB_OPEN}"

# Servers that are alive. Each counts its own `beat` up (`jobs/presence.py`).
workers = Table(
    "workers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("beat", BigInteger, nullable=False),
)

# Jobs (`domain.jobs`). Times are Unix milliseconds by the database's clock. `delay`: how long the last pause was meant
# to be. `rank`: the priority, turned round, so that an index can hold jobs in their order. Short columns stand first:
# what looks for jobs reads those only.
jobs = Table(
    "jobs",
    metadata,
    Column("seq", SEQUENCE, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
    Column("id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("run_at", BigInteger, nullable=False),
    Column("delay", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("losses", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("waited", BigInteger, nullable=False),
    Column("holder", Text),
    Column("cancel_requested", Integer, nullable=False),
    Column("dedupe_key", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Column("error", Text),
    Column("progress", LargeBinary),
    Column("result", LargeBinary),
    Column("payload", LargeBinary, nullable=False),
    UniqueConstraint("project_id", "id"),
    Index(
        "ix_jobs_queued",
        *("project_id", "kind", "rank", "seq", "run_at"),
        sqlite_where=text(JOB_QUEUED),
        postgresql_where=text(JOB_QUEUED),
    ),
    Index("ix_jobs_lost", "kind", "seq", sqlite_where=text(JOB_LOST), postgresql_where=text(JOB_LOST)),
    Index("ix_jobs_cancelled", "kind", "seq", sqlite_where=text(JOB_CANCELLED), postgresql_where=text(JOB_CANCELLED)),
    Index("ix_jobs_held", "kind", "holder", sqlite_where=text(JOB_HELD), postgresql_where=text(JOB_HELD)),
    Index("ix_jobs_ended", "finished_at", "state", sqlite_where=text(JOB_ENDED), postgresql_where=text(JOB_ENDED)),
    Index(
        "ix_jobs_dedupe_key",
        "project_id",
        "kind",
        "dedupe_key",
        unique=True,
        sqlite_where=text(_ONCE),
        postgresql_where=text(_ONCE),
    ),
)
