"""Conversations, stored completions and prompts."""

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
)

from antiphon.stores.tables.base import SEQUENCE, metadata

# `active_response_id`: the response that is being made in it; there is at most one. It holds the conversation for as
# long as a response of that id is stored as unfinished, and in any case for as long as the worker `active_owner` is
# there.
conversations = Table(
    "conversations",
    metadata,
    Column("project_id", Text, ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    Column("id", Text, primary_key=True),
    Column("created_at", BigInteger, nullable=False),
    Column("metadata", LargeBinary, nullable=False),
    Column("active_response_id", Text),
    Column("active_owner", Text),
)

conversation_items = Table(
    "conversation_items",
    metadata,
    Column("seq", SEQUENCE, primary_key=True),
    Column("project_id", Text, nullable=False),
    Column("conversation_id", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    UniqueConstraint("project_id", "conversation_id", "id"),
    ForeignKeyConstraint(
        ["project_id", "conversation_id"], ["conversations.project_id", "conversations.id"], ondelete="CASCADE"
    ),
    Index(None, "project_id", "id"),
)

chat_completions = Table(
    "chat_completions",
    metadata,
    Column("seq", SEQUENCE, primary_key=True),
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

# `published`: the version that answers when a request names none.
prompts = Table(
    "prompts",
    metadata,
    Column("seq", SEQUENCE, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
    Column("id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("published", Integer),
    UniqueConstraint("project_id", "id"),
)

prompt_versions = Table(
    "prompt_versions",
    metadata,
    Column("project_id", Text, primary_key=True),
    Column("prompt_id", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("created_at", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    ForeignKeyConstraint(["project_id", "prompt_id"], ["prompts.project_id", "prompts.id"], ondelete="CASCADE"),
)
