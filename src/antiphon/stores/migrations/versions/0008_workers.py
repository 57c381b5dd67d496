"""Workers that are there, in place of leases that end by the clock; pauses of background responses; a row to try on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_UNFINISHED = sa.text("status IN ('in_progress', 'queued')")


def upgrade() -> None:
    """Make it so. What is unfinished belongs to nobody afterwards: no server runs while this does."""
    op.create_table(
        "workers",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("beat", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_workers"),
    )
    op.create_table(
        "probes",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_probes"),
    )
    op.execute("INSERT INTO probes (id, count) VALUES (1, 0)")
    op.drop_index("ix_responses_lease", "responses")
    op.execute("UPDATE responses SET lease_until = NULL WHERE lease_until IS NOT NULL")
    # In place: the table may be large.
    op.execute("ALTER TABLE responses RENAME COLUMN lease_until TO wait_until")
    op.add_column("responses", sa.Column("waited", sa.BigInteger, nullable=False, server_default=sa.text("0")))
    op.create_index(
        "ix_responses_waiting",
        "responses",
        ["project_id", "created_at", "id"],
        sqlite_where=_UNFINISHED,
        postgresql_where=_UNFINISHED,
    )
    op.execute("ALTER TABLE conversations DROP COLUMN active_until")
