"""Jobs: what it takes to make a background response moves from its row into a job of its own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_OPEN = "state IN ('queued', 'running')"
_ONCE = f"dedupe_key IS NOT NULL AND {_OPEN}"
#: Each unfinished background response gets the job that makes it. One that waited goes on waiting, by the same clock.
_JOBS_OF_RESPONSES = """
INSERT INTO jobs (
    project_id, id, kind, state, rank, run_at, delay, attempts, failures, losses, max_attempts, waited,
    cancel_requested, created_at, payload
)
SELECT
    project_id, id, 'response', 'queued', 0, coalesce(wait_until, 0), 3600000, 0, 0, 0, 3, waited,
    cancel_requested, created_at * 1000, coalesce(request, {empty})
FROM responses
WHERE status IN ('in_progress', 'queued') AND background = 1
ORDER BY created_at, id
"""


def upgrade() -> None:
    """Make it so. No server runs while this does, so no worker makes anything."""
    dialect = op.get_bind().dialect.name
    _create_jobs(dialect)
    op.execute(_JOBS_OF_RESPONSES.format(empty="''::bytea" if dialect == "postgresql" else "x''"))
    op.drop_index("ix_responses_waiting", "responses")
    # SQLite rewrites the table for each column that is dropped alone; this way it does so once.
    with op.batch_alter_table("responses", recreate="auto") as table:
        for name in ("wait_until", "waited", "cancel_requested", "request"):
            table.drop_column(name)


def _create_jobs(dialect: str) -> None:
    sequence = sa.Integer if dialect == "sqlite" else sa.BigInteger
    op.create_table(
        "jobs",
        sa.Column("seq", sequence, nullable=False),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.Column("run_at", sa.BigInteger, nullable=False),
        sa.Column("delay", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("losses", sa.Integer, nullable=False),
        sa.Column("max_attempts", sa.Integer, nullable=False),
        sa.Column("waited", sa.BigInteger, nullable=False),
        sa.Column("holder", sa.Text),
        sa.Column("cancel_requested", sa.Integer, nullable=False),
        sa.Column("dedupe_key", sa.Text),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("error", sa.Text),
        sa.Column("progress", sa.LargeBinary),
        sa.Column("result", sa.LargeBinary),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_jobs"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_jobs_projects", ondelete="CASCADE"),
        sa.UniqueConstraint("project_id", "id", name="uq_jobs_project_id_id"),
    )
    _create_index("ix_jobs_queued", ["project_id", "kind", "rank", "seq", "run_at"], "state = 'queued'")
    _create_index("ix_jobs_lost", ["kind", "seq"], "losses > 0 AND state = 'queued'")
    _create_index("ix_jobs_cancelled", ["kind", "seq"], f"cancel_requested = 1 AND {_OPEN}")
    _create_index("ix_jobs_held", ["kind", "holder"], "holder IS NOT NULL")
    _create_index("ix_jobs_ended", ["finished_at", "state"], "finished_at IS NOT NULL")
    _create_index("ix_jobs_dedupe_key", ["project_id", "kind", "dedupe_key"], _ONCE, unique=True)


def _create_index(name: str, columns: list[str], condition: str, *, unique: bool = False) -> None:
    where = sa.text(condition)
    op.create_index(name, "jobs", columns, unique=unique, sqlite_where=where, postgresql_where=where)
