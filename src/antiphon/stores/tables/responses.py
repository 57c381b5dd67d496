"""Responses, their items, and the event logs of those that are made in the background."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from antiphon.stores.tables.base import EXPIRES, SEQUENCE, metadata

#: What `unfinished` looks for. Text, because SQLite uses a partial index only for literally the same condition.
UNFINISHED = "status IN ('in_progress', 'queued')"
#: As above: of all that were ever made, the few that still have an event log.
HAS_LOG = "has_log = 1"

responses = Table(
    "responses",
    metadata,
    Column("project_id", Text, ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    Column("id", Text, primary_key=True),
    Column("created_at", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("previous_response_id", Text),
    # The worker that makes it, or made it last. Only that one may change it.
    Column("owner", Text),
    Column("background", Integer, nullable=False, server_default=text("0")),
    Column("conversation_id", Text),
    Column("expires_at", BigInteger),
    Column("has_log", Integer, nullable=False, server_default=text("0")),
    Index("ix_responses_unfinished", "owner", sqlite_where=text(UNFINISHED), postgresql_where=text(UNFINISHED)),
    Index("ix_responses_expires_at", "expires_at", sqlite_where=text(EXPIRES), postgresql_where=text(EXPIRES)),
    Index("ix_responses_has_log", "created_at", sqlite_where=text(HAS_LOG), postgresql_where=text(HAS_LOG)),
)

# The events of background responses as they were sent: `count` of them from sequence number `first`. `progress` is what
# the engine needs to go on after them.
response_events = Table(
    "response_events",
    metadata,
    Column("project_id", Text, primary_key=True),
    Column("response_id", Text, primary_key=True),
    Column("first", BigInteger, primary_key=True),
    Column("count", Integer, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("progress", LargeBinary),
    ForeignKeyConstraint(["project_id", "response_id"], ["responses.project_id", "responses.id"], ondelete="CASCADE"),
)

# A client may send the same item id in several requests, so the id alone is no key.
items = Table(
    "items",
    metadata,
    Column("seq", SEQUENCE, primary_key=True),
    Column("project_id", Text, nullable=False),
    Column("response_id", Text, nullable=False),
    Column("direction", Text, nullable=False),
    Column("position", Integer, nullable=False),
    Column("id", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    UniqueConstraint("project_id", "response_id", "direction", "position"),
    ForeignKeyConstraint(["project_id", "response_id"], ["responses.project_id", "responses.id"], ondelete="CASCADE"),
    Index(None, "project_id", "id"),
)
