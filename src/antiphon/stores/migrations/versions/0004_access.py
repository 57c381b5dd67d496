"""Keys and limits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make it so."""
    for name in ("scopes", "models", "addresses", "user_id", "service_account_id", "replaced_by"):
        op.add_column("api_keys", sa.Column(name, sa.Text))
    op.add_column("api_keys", sa.Column("last_used_at", sa.BigInteger))
    op.create_table(
        "rate_limits",
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("rpm", sa.BigInteger),
        sa.Column("tpm", sa.BigInteger),
        sa.Column("rpd", sa.BigInteger),
        sa.Column("tpd", sa.BigInteger),
        sa.Column("concurrent", sa.BigInteger),
        sa.PrimaryKeyConstraint("scope", "subject", "model", name="pk_rate_limits"),
    )
