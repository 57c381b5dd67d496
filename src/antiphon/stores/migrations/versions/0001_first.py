"""The first schema: projects, keys, responses with their items, stored chat completions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_UNFINISHED = "status IN ('in_progress', 'queued')"


def _seq() -> sa.Column[int]:
    return sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False)


def _project(name: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=f"fk_{name}_projects", ondelete="CASCADE")


def upgrade() -> None:
    """Make everything."""
    _tenants()
    _responses()
    _completions()


def _tenants() -> None:
    op.create_table(
        "projects",
        _seq(),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_projects"),
        sa.UniqueConstraint("id", name="uq_projects_id"),
        sa.UniqueConstraint("name", name="uq_projects_name"),
    )
    op.create_table(
        "api_keys",
        _seq(),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("hint", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("seq", name="pk_api_keys"),
        sa.UniqueConstraint("id", name="uq_api_keys_id"),
        sa.UniqueConstraint("digest", name="uq_api_keys_digest"),
        _project("api_keys"),
    )
    op.create_index("ix_api_keys_project_id", "api_keys", ["project_id"])


def _responses() -> None:
    op.create_table(
        "responses",
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("previous_response_id", sa.Text),
        sa.Column("owner", sa.Text),
        sa.PrimaryKeyConstraint("project_id", "id", name="pk_responses"),
        _project("responses"),
    )
    op.create_index(
        "ix_responses_unfinished",
        "responses",
        ["owner"],
        sqlite_where=sa.text(_UNFINISHED),
        postgresql_where=sa.text(_UNFINISHED),
    )
    op.create_table(
        "items",
        _seq(),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("response_id", sa.Text, nullable=False),
        sa.Column("direction", sa.Text, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_items"),
        sa.UniqueConstraint(
            "project_id",
            "response_id",
            "direction",
            "position",
            name="uq_items_project_id_response_id_direction_position",
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "response_id"],
            ["responses.project_id", "responses.id"],
            name="fk_items_responses",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_items_project_id_id", "items", ["project_id", "id"])


def _completions() -> None:
    op.create_table(
        "chat_completions",
        _seq(),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("messages", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_chat_completions"),
        sa.UniqueConstraint("project_id", "id", name="uq_chat_completions_project_id_id"),
        _project("chat_completions"),
    )
    op.create_index(
        "ix_chat_completions_project_id_created_at_seq",
        "chat_completions",
        ["project_id", "created_at", "seq"],
    )
    op.create_table(
        "chat_completion_metadata",
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("completion_id", sa.Text, nullable=False),
        sa.Column("key", sa.LargeBinary, nullable=False),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("project_id", "completion_id", "key", name="pk_chat_completion_metadata"),
        sa.ForeignKeyConstraint(
            ["project_id", "completion_id"],
            ["chat_completions.project_id", "chat_completions.id"],
            name="fk_chat_completion_metadata_chat_completions",
            ondelete="CASCADE",
        ),
    )
    op.create_index(
        "ix_chat_completion_metadata_project_id_key_value",
        "chat_completion_metadata",
        ["project_id", "key", "value"],
    )
