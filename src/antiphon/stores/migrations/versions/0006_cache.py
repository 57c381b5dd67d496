"""Cached answers; uses of what is shut down."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make it so."""
    _answers()
    _caches()
    _uses()


def _project(name: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=f"fk_{name}_projects", ondelete="CASCADE")


def _answers() -> None:
    op.create_table(
        "cached_answers",
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("key", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("upstream", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("project_id", "key", name="pk_cached_answers"),
        _project("cached_answers"),
    )
    op.create_index("ix_cached_answers_project_id_created_at", "cached_answers", ["project_id", "created_at"])
    op.create_index("ix_cached_answers_created_at", "cached_answers", ["created_at"])
    op.create_index("ix_cached_answers_expires_at", "cached_answers", ["expires_at"])


def _caches() -> None:
    op.create_table(
        "caches",
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("ttl", sa.BigInteger),
        sa.Column("size", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("project_id", name="pk_caches"),
        _project("caches"),
    )


def _uses() -> None:
    op.create_table(
        "retiring_uses",
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("last_day", sa.BigInteger, nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("project_id", "key_id", "subject", name="pk_retiring_uses"),
        _project("retiring_uses"),
    )
