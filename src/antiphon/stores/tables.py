"""The tables, as the newest migration leaves them. A test compares the two on both databases.

Bodies are JSON as bytes and are never looked into here. Times are Unix seconds. `seq` grows with every insert: it keeps
the order of rows made in the same second. Every object belongs to one project and goes with it.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

#: SQLite counts rows by itself only in a column of exactly the type INTEGER; it is 64 bits wide there too.
_Sequence = BigInteger().with_variant(Integer, "sqlite")

#: What `unfinished` looks for. Text, because SQLite uses a partial index only for literally the same condition.
UNFINISHED = "status IN ('in_progress', 'queued')"

projects = Table(
    "projects",
    metadata,
    Column("seq", _Sequence, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("seq", _Sequence, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("project_id", Text, ForeignKey("projects.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("hint", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
)

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
    Column("owner", Text),
    Index("ix_responses_unfinished", "owner", sqlite_where=text(UNFINISHED), postgresql_where=text(UNFINISHED)),
)

# A client may send the same item id in several requests, so the id alone is no key.
items = Table(
    "items",
    metadata,
    Column("seq", _Sequence, primary_key=True),
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

chat_completions = Table(
    "chat_completions",
    metadata,
    Column("seq", _Sequence, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
    Column("id", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("model", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("messages", LargeBinary, nullable=False),
    UniqueConstraint("project_id", "id"),
    Index(None, "project_id", "created_at", "seq"),
)

# Keys and values are UTF-8 as bytes: clients may send a NUL in them, which PostgreSQL's text cannot hold.
chat_completion_metadata = Table(
    "chat_completion_metadata",
    metadata,
    Column("project_id", Text, primary_key=True),
    Column("completion_id", Text, primary_key=True),
    Column("key", LargeBinary, primary_key=True),
    Column("value", LargeBinary, nullable=False),
    Column("position", Integer, nullable=False),
    ForeignKeyConstraint(
        ["project_id", "completion_id"],
        ["chat_completions.project_id", "chat_completions.id"],
        ondelete="CASCADE",
    ),
    Index(None, "project_id", "key", "value"),
)
