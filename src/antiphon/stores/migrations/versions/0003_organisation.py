"""Organisation."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make it so."""
    op.add_column("projects", sa.Column("archived_at", sa.BigInteger))
    _admin_keys()
    _users()
    _project_users()
    _service_accounts()
    _invites()
    _audit_logs()


def _seq() -> sa.Column[int]:
    return sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False)


def _admin_keys() -> None:
    op.create_table(
        "admin_api_keys",
        _seq(),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("hint", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
        sa.Column("user_id", sa.Text),
        sa.Column("last_used_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("seq", name="pk_admin_api_keys"),
        sa.UniqueConstraint("id", name="uq_admin_api_keys_id"),
        sa.UniqueConstraint("digest", name="uq_admin_api_keys_digest"),
    )


def _users() -> None:
    op.create_table(
        "users",
        _seq(),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("technical_level", sa.Text),
        sa.Column("developer_persona", sa.Text),
        sa.PrimaryKeyConstraint("seq", name="pk_users"),
        sa.UniqueConstraint("id", name="uq_users_id"),
        sa.UniqueConstraint("email", name="uq_users_email"),
    )


def _project_users() -> None:
    op.create_table(
        "project_users",
        _seq(),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("added_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_project_users"),
        sa.UniqueConstraint("project_id", "user_id", name="uq_project_users_project_id_user_id"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_project_users_projects", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_project_users_users", ondelete="CASCADE"),
    )
    op.create_index("ix_project_users_user_id", "project_users", ["user_id"])


def _service_accounts() -> None:
    op.create_table(
        "service_accounts",
        _seq(),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_service_accounts"),
        sa.UniqueConstraint("id", name="uq_service_accounts_id"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name="fk_service_accounts_projects", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_service_accounts_project_id", "service_accounts", ["project_id"])


def _invites() -> None:
    op.create_table(
        "invites",
        _seq(),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("projects", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("accepted_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("seq", name="pk_invites"),
        sa.UniqueConstraint("id", name="uq_invites_id"),
    )


def _audit_logs() -> None:
    op.create_table(
        "audit_logs",
        _seq(),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text),
        sa.Column("user_id", sa.Text),
        sa.Column("email", sa.Text),
        sa.Column("address", sa.Text),
        sa.Column("project_id", sa.Text),
        sa.Column("resource_id", sa.Text, nullable=False),
        sa.Column("details", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_audit_logs"),
        sa.UniqueConstraint("id", name="uq_audit_logs_id"),
    )
