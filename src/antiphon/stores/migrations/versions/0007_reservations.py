"""Whose reservation it is: that of a response which another server may go on with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make it so."""
    op.add_column("reservations", sa.Column("object_id", sa.Text))
    op.create_index("ix_reservations_object_id", "reservations", ["object_id"])
