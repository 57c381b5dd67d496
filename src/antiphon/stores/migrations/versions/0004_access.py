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
    op.add_column("api_keys", sa.Column("user_id", sa.Text))
    op.add_column("api_keys", sa.Column("service_account_id", sa.Text))
    op.add_column("api_keys", sa.Column("last_used_at", sa.BigInteger))
