"""Durable responses: leases, event logs, retention; conversations; prompts; idempotency keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_UNFINISHED = "status IN ('in_progress', 'queued')"
_EXPIRES = "expires_at IS NOT NULL"
_HAS_LOG = "has_log = 1"


def _project(name: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=f"fk_{name}_projects", ondelete="CASCADE")


def _seq() -> sa.Column[int]:
    return sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False)


def upgrade() -> None:
    """Make it so."""
    op.add_column("projects", sa.Column("response_ttl", sa.BigInteger))
    _responses()
    _events()
    _conversations()
    _prompts()
    _idempotency()


def _responses() -> None:
    op.add_column("responses", sa.Column("lease_until", sa.BigInteger))
    op.add_column("responses", sa.Column("background", sa.Integer, nullable=False, server_default=sa.text("0")))
    op.add_column("responses", sa.Column("cancel_requested", sa.Integer, nullable=False, server_default=sa.text("0")))
    op.add_column("responses", sa.Column("request", sa.LargeBinary))
    op.add_column("responses", sa.Column("conversation_id", sa.Text))
    op.add_column("responses", sa.Column("expires_at", sa.BigInteger))
    op.add_column("responses", sa.Column("has_log", sa.Integer, nullable=False, server_default=sa.text("0")))
    op.create_index(
        "ix_responses_lease",
        "responses",
        ["lease_until"],
        sqlite_where=sa.text(_UNFINISHED),
        postgresql_where=sa.text(_UNFINISHED),
    )
    op.create_index(
        "ix_responses_has_log",
        "responses",
        ["created_at"],
        sqlite_where=sa.text(_HAS_LOG),
        postgresql_where=sa.text(_HAS_LOG),
    )
    op.create_index(
        "ix_responses_expires_at",
        "responses",
        ["expires_at"],
        sqlite_where=sa.text(_EXPIRES),
        postgresql_where=sa.text(_EXPIRES),
    )


def _events() -> None:
    op.create_table(
        "response_events",
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("response_id", sa.Text, nullable=False),
        sa.Column("first", sa.BigInteger, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("progress", sa.LargeBinary),
        sa.PrimaryKeyConstraint("project_id", "response_id", "first", name="pk_response_events"),
        sa.ForeignKeyConstraint(
            ["project_id", "response_id"],
            ["responses.project_id", "responses.id"],
            name="fk_response_events_responses",
            ondelete="CASCADE",
        ),
    )


def _conversations() -> None:
    op.create_table(
        "conversations",
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("metadata", sa.LargeBinary, nullable=False),
        sa.Column("active_response_id", sa.Text),
        sa.Column("active_owner", sa.Text),
        sa.Column("active_until", sa.BigInteger),
        sa.PrimaryKeyConstraint("project_id", "id", name="pk_conversations"),
        _project("conversations"),
    )
    op.create_table(
        "conversation_items",
        _seq(),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("conversation_id", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_conversation_items"),
        sa.UniqueConstraint(
            "project_id", "conversation_id", "id", name="uq_conversation_items_project_id_conversation_id_id"
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "conversation_id"],
            ["conversations.project_id", "conversations.id"],
            name="fk_conversation_items_conversations",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_conversation_items_project_id_id", "conversation_items", ["project_id", "id"])


def _prompts() -> None:
    op.create_table(
        "prompts",
        _seq(),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("published", sa.Integer),
        sa.PrimaryKeyConstraint("seq", name="pk_prompts"),
        sa.UniqueConstraint("project_id", "id", name="uq_prompts_project_id_id"),
        _project("prompts"),
    )
    op.create_table(
        "prompt_versions",
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("prompt_id", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("project_id", "prompt_id", "version", name="pk_prompt_versions"),
        sa.ForeignKeyConstraint(
            ["project_id", "prompt_id"],
            ["prompts.project_id", "prompts.id"],
            name="fk_prompt_versions_prompts",
            ondelete="CASCADE",
        ),
    )


def _idempotency() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("key", sa.LargeBinary, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("locked_until", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("content_type", sa.Text),
        sa.Column("body", sa.LargeBinary),
        sa.Column("object_id", sa.Text),
        sa.PrimaryKeyConstraint("project_id", "key", name="pk_idempotency_keys"),
        _project("idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    op.create_index("ix_idempotency_keys_project_id_object_id", "idempotency_keys", ["project_id", "object_id"])
