"""Ledger, budgets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make it so."""
    _ledger()
    _budgets()
    _reservations()


def _seq() -> sa.Column[int]:
    return sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False)


def _ledger() -> None:
    counts = ("input", "cached", "cache_write", "output", "reasoning", "input_audio", "output_audio")
    op.create_table(
        "ledger",
        _seq(),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("model", sa.Text),
        sa.Column("served", sa.Text),
        sa.Column("route", sa.Text),
        sa.Column("targets", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("fallback", sa.Integer, nullable=False),
        sa.Column("kept", sa.Integer, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("error", sa.Text),
        *(sa.Column(f"{name}_tokens", sa.BigInteger, nullable=False) for name in counts),
        sa.Column("estimated", sa.Integer, nullable=False),
        sa.Column("cost", sa.BigInteger),
        sa.Column("saved", sa.BigInteger),
        sa.Column("price_version", sa.Text, nullable=False),
        sa.Column("batch", sa.Integer, nullable=False),
        sa.Column("service_tier", sa.Text, nullable=False),
        sa.Column("streamed", sa.Integer, nullable=False),
        sa.Column("background", sa.Integer, nullable=False),
        sa.Column("first_ms", sa.BigInteger),
        sa.Column("total_ms", sa.BigInteger, nullable=False),
        sa.Column("object_id", sa.Text),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_ledger"),
        sa.UniqueConstraint("id", name="uq_ledger_id"),
    )
    op.create_index("ix_ledger_at_project_id", "ledger", ["at", "project_id"])
    op.create_index("ix_ledger_object_id", "ledger", ["object_id"])


def _budgets() -> None:
    op.create_table(
        "budgets",
        _seq(),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("period", sa.Text, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("hard", sa.Integer, nullable=False),
        sa.Column("allow_unknown", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("channel", sa.LargeBinary),
        sa.Column("window", sa.BigInteger, nullable=False),
        sa.Column("spent", sa.BigInteger, nullable=False),
        sa.Column("reserved", sa.BigInteger, nullable=False),
        sa.Column("alerted", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_budgets"),
        sa.UniqueConstraint("id", name="uq_budgets_id"),
    )
    op.create_index(
        "ix_budgets_hard",
        "budgets",
        ["scope", "subject", "period"],
        unique=True,
        sqlite_where=sa.text("hard = 1"),
        postgresql_where=sa.text("hard = 1"),
    )


def _reservations() -> None:
    op.create_table(
        "reservations",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("budgets", sa.Text, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_reservations"),
    )
    op.create_index("ix_reservations_until", "reservations", ["until"])
    op.create_index("ix_reservations_owner", "reservations", ["owner"])
