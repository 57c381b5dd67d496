"""Projects, their keys, browsers' sessions, and rate limits."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, LargeBinary, Table, Text

from antiphon.stores.tables.base import SEQUENCE, metadata

projects = Table(
    "projects",
    metadata,
    Column("seq", SEQUENCE, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    # Seconds; null is the default, and 0 for ever.
    Column("response_ttl", BigInteger),
    Column("archived_at", BigInteger),
)

# `scopes`, `models`, `addresses`: JSON, lists of texts; null is no restriction.
api_keys = Table(
    "api_keys",
    metadata,
    Column("seq", SEQUENCE, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("project_id", Text, ForeignKey("projects.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("hint", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("scopes", Text),
    Column("models", Text),
    Column("addresses", Text),
    Column("user_id", Text),
    Column("service_account_id", Text),
    Column("replaced_by", Text),
    Column("last_used_at", BigInteger),
)

# Sessions of browsers. `digest`: a keyed hash of the token in the cookie.
sessions = Table(
    "sessions",
    metadata,
    Column("seq", SEQUENCE, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("key_id", Text, ForeignKey("api_keys.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
)

# `subject`: of a key, a project or a user; empty for the organization. `model`: empty for all together.
rate_limits = Table(
    "rate_limits",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("rpm", BigInteger),
    Column("tpm", BigInteger),
    Column("rpd", BigInteger),
    Column("tpd", BigInteger),
    Column("concurrent", BigInteger),
)
