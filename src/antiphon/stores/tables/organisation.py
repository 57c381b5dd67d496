"""The organisation: who administers, and what they did."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, LargeBinary, Table, Text, UniqueConstraint

from antiphon.stores.tables.base import SEQUENCE, metadata

# Keys for the organisation itself: they belong to no project.
admin_api_keys = Table(
    "admin_api_keys",
    metadata,
    Column("seq", SEQUENCE, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("hint", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("user_id", Text),
    Column("last_used_at", BigInteger),
)

users = Table(
    "users",
    metadata,
    Column("seq", SEQUENCE, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False, unique=True),
    Column("role", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("technical_level", Text),
    Column("developer_persona", Text),
)

project_users = Table(
    "project_users",
    metadata,
    Column("seq", SEQUENCE, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
    Column("user_id", Text, ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("role", Text, nullable=False),
    Column("added_at", BigInteger, nullable=False),
    UniqueConstraint("project_id", "user_id"),
)

service_accounts = Table(
    "service_accounts",
    metadata,
    Column("seq", SEQUENCE, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("project_id", Text, ForeignKey("projects.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

# `projects`: JSON, pairs of a project's id and a role.
invites = Table(
    "invites",
    metadata,
    Column("seq", SEQUENCE, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("email", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("projects", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("accepted_at", BigInteger),
)

# What it names may be gone by now, so nothing here refers to anything. `details`: JSON, the changed fields.
audit_logs = Table(
    "audit_logs",
    metadata,
    Column("seq", SEQUENCE, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("at", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("key_id", Text),
    Column("user_id", Text),
    Column("email", Text),
    Column("address", Text),
    Column("project_id", Text),
    Column("resource_id", Text, nullable=False),
    Column("details", LargeBinary, nullable=False),
)
