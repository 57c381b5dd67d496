"""The tables, as the newest migration leaves them. A test compares the two on both databases.

Bodies are JSON as bytes and are never looked into here. Times are Unix seconds. `seq` grows with every insert: it keeps
the order of rows made in the same second. Every object belongs to one project and goes with it.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

#: SQLite counts rows by itself only in a column of exactly the type INTEGER; it is 64 bits wide there too.
_Sequence = BigInteger().with_variant(Integer, "sqlite")

#: What `unfinished` looks for. Text, because SQLite uses a partial index only for literally the same condition.
UNFINISHED = "status IN ('in_progress', 'queued')"
_EXPIRES = "expires_at IS NOT NULL"
#: As above, of jobs.
JOB_OPEN = "state IN ('queued', 'running')"
JOB_QUEUED = "state = 'queued'"
JOB_LOST = "losses > 0 AND state = 'queued'"
JOB_CANCELLED = "cancel_requested = 1 AND state IN ('queued', 'running')"
JOB_HELD = "holder IS NOT NULL"
JOB_ENDED = "finished_at IS NOT NULL"
_ONCE = f"dedupe_key IS NOT NULL AND {JOB_OPEN}"
#: As above: the few that still have an event log among all that were ever made.
HAS_LOG = "has_log = 1"

projects = Table(
    "projects",
    metadata,
    Column("seq", _Sequence, primary_key=True),
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
    Column("seq", _Sequence, primary_key=True),
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

# Keys for the organisation itself: they belong to no project.
admin_api_keys = Table(
    "admin_api_keys",
    metadata,
    Column("seq", _Sequence, primary_key=True),
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
    Column("seq", _Sequence, primary_key=True),
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
    Column("seq", _Sequence, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
    Column("user_id", Text, ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("role", Text, nullable=False),
    Column("added_at", BigInteger, nullable=False),
    UniqueConstraint("project_id", "user_id"),
)

service_accounts = Table(
    "service_accounts",
    metadata,
    Column("seq", _Sequence, primary_key=True),
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
    Column("seq", _Sequence, primary_key=True),
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
    Column("seq", _Sequence, primary_key=True),
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

# Servers that are there. `beat` is counted up by each of its own; whoever sees one stand still for long strikes it off.
workers = Table(
    "workers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("beat", BigInteger, nullable=False),
)

# One row, which is written to find out whether anything can be.
probes = Table(
    "probes",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
)

responses = Table(
    "responses",
    metadata,
    Column("project_id", Text, ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    Column("id", Text, primary_key=True),
    Column("created_at", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("previous_response_id", Text),
    # The worker that makes it, or made it last. Only that one may change it.
    Column("owner", Text),
    Column("background", Integer, nullable=False, server_default=text("0")),
    Column("conversation_id", Text),
    Column("expires_at", BigInteger),
    Column("has_log", Integer, nullable=False, server_default=text("0")),
    Index("ix_responses_unfinished", "owner", sqlite_where=text(UNFINISHED), postgresql_where=text(UNFINISHED)),
    Index("ix_responses_expires_at", "expires_at", sqlite_where=text(_EXPIRES), postgresql_where=text(_EXPIRES)),
    Index("ix_responses_has_log", "created_at", sqlite_where=text(HAS_LOG), postgresql_where=text(HAS_LOG)),
)

# Jobs (`domain.jobs`). Times are Unix milliseconds by the database's clock. `delay`: how long the last pause was meant
# to be. `rank`: the priority, turned round, so that an index can hold jobs in their order. Short columns stand first:
# what looks for jobs reads those only.
jobs = Table(
    "jobs",
    metadata,
    Column("seq", _Sequence, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
    Column("id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("run_at", BigInteger, nullable=False),
    Column("delay", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("losses", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("waited", BigInteger, nullable=False),
    Column("holder", Text),
    Column("cancel_requested", Integer, nullable=False),
    Column("dedupe_key", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Column("error", Text),
    Column("progress", LargeBinary),
    Column("result", LargeBinary),
    Column("payload", LargeBinary, nullable=False),
    UniqueConstraint("project_id", "id"),
    Index(
        "ix_jobs_queued",
        *("project_id", "kind", "rank", "seq", "run_at"),
        sqlite_where=text(JOB_QUEUED),
        postgresql_where=text(JOB_QUEUED),
    ),
    Index("ix_jobs_lost", "kind", "seq", sqlite_where=text(JOB_LOST), postgresql_where=text(JOB_LOST)),
    Index("ix_jobs_cancelled", "kind", "seq", sqlite_where=text(JOB_CANCELLED), postgresql_where=text(JOB_CANCELLED)),
    Index("ix_jobs_held", "kind", "holder", sqlite_where=text(JOB_HELD), postgresql_where=text(JOB_HELD)),
    Index("ix_jobs_ended", "finished_at", "state", sqlite_where=text(JOB_ENDED), postgresql_where=text(JOB_ENDED)),
    Index(
        "ix_jobs_dedupe_key",
        "project_id",
        "kind",
        "dedupe_key",
        unique=True,
        sqlite_where=text(_ONCE),
        postgresql_where=text(_ONCE),
    ),
)

# The events of background responses as they were sent: `count` of them from sequence number `first`. `progress` is what
# the engine needs to go on after them.
response_events = Table(
    "response_events",
    metadata,
    Column("project_id", Text, primary_key=True),
    Column("response_id", Text, primary_key=True),
    Column("first", BigInteger, primary_key=True),
    Column("count", Integer, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("progress", LargeBinary),
    ForeignKeyConstraint(["project_id", "response_id"], ["responses.project_id", "responses.id"], ondelete="CASCADE"),
)

# A client may send the same item id in several requests, so the id alone is no key.
items = Table(
    "items",
    metadata,
    Column("seq", _Sequence, primary_key=True),
    Column("project_id", Text, nullable=False),
    Column("response_id", Text, nullable=False),
    Column("direction", Text, nullable=False),
    Column("position", Integer, nullable=False),
    Column("id", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    UniqueConstraint("project_id", "response_id", "direction", "position"),
    ForeignKeyConstraint(["project_id", "response_id"], ["responses.project_id", "responses.id"], ondelete="CASCADE"),
    Index(None, "project_id", "id"),
)

chat_completions = Table(
    "chat_completions",
    metadata,
    Column("seq", _Sequence, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
    Column("id", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("model", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("messages", LargeBinary, nullable=False),
    UniqueConstraint("project_id", "id"),
    Index(None, "project_id", "created_at", "seq"),
)

# Keys and values are UTF-8 as bytes: clients may send a NUL in them, which PostgreSQL's text cannot hold.
chat_completion_metadata = Table(
    "chat_completion_metadata",
    metadata,
    Column("project_id", Text, primary_key=True),
    Column("completion_id", Text, primary_key=True),
    Column("key", LargeBinary, primary_key=True),
    Column("value", LargeBinary, nullable=False),
    Column("position", Integer, nullable=False),
    ForeignKeyConstraint(
        ["project_id", "completion_id"],
        ["chat_completions.project_id", "chat_completions.id"],
        ondelete="CASCADE",
    ),
    Index(None, "project_id", "key", "value"),
)

# `active_response_id`: the response that is being made in it; there is at most one. It holds the conversation for as
# long as a response of that id is stored as unfinished, and in any case for as long as the worker `active_owner` is
# there.
conversations = Table(
    "conversations",
    metadata,
    Column("project_id", Text, ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    Column("id", Text, primary_key=True),
    Column("created_at", BigInteger, nullable=False),
    Column("metadata", LargeBinary, nullable=False),
    Column("active_response_id", Text),
    Column("active_owner", Text),
)

conversation_items = Table(
    "conversation_items",
    metadata,
    Column("seq", _Sequence, primary_key=True),
    Column("project_id", Text, nullable=False),
    Column("conversation_id", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    UniqueConstraint("project_id", "conversation_id", "id"),
    ForeignKeyConstraint(
        ["project_id", "conversation_id"], ["conversations.project_id", "conversations.id"], ondelete="CASCADE"
    ),
    Index(None, "project_id", "id"),
)

# `published`: the version that answers when a request names none.
prompts = Table(
    "prompts",
    metadata,
    Column("seq", _Sequence, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
    Column("id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("published", Integer),
    UniqueConstraint("project_id", "id"),
)

prompt_versions = Table(
    "prompt_versions",
    metadata,
    Column("project_id", Text, primary_key=True),
    Column("prompt_id", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("created_at", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    ForeignKeyConstraint(["project_id", "prompt_id"], ["prompts.project_id", "prompts.id"], ondelete="CASCADE"),
)

# `fingerprint`: of the request's method, path and body. No `status`: the first request is still running, held by
# `owner`, and waited for until `locked_until` (Unix milliseconds). A `status` without a `body`: its answer is not kept.
# `object_id`: what the answer shows; when that is deleted, so is the answer.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("project_id", Text, ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    Column("key", LargeBinary, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("owner", Text, nullable=False),
    Column("locked_until", BigInteger, nullable=False),
    Column("status", Integer),
    Column("content_type", Text),
    Column("body", LargeBinary),
    Column("object_id", Text),
    Index("ix_idempotency_keys_created_at", "created_at"),
    Index("ix_idempotency_keys_project_id_object_id", "project_id", "object_id"),
)

# One row for every call that asked a model for something. It outlives its project and key: what was spent stays spent.
# Money is in nano-dollars, `at` in Unix milliseconds.
ledger = Table(
    "ledger",
    metadata,
    Column("seq", _Sequence, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("at", BigInteger, nullable=False),
    Column("project_id", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("user_id", Text),
    Column("endpoint", Text, nullable=False),
    Column("model", Text),
    Column("served", Text),
    Column("route", Text),
    Column("targets", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("fallback", Integer, nullable=False),
    Column("kept", Integer, nullable=False),
    Column("status", Integer, nullable=False),
    Column("error", Text),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("cache_write_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("input_audio_tokens", BigInteger, nullable=False),
    Column("output_audio_tokens", BigInteger, nullable=False),
    Column("estimated", Integer, nullable=False),
    Column("cost", BigInteger),
    Column("saved", BigInteger),
    Column("price_version", Text, nullable=False),
    Column("batch", Integer, nullable=False),
    Column("service_tier", Text, nullable=False),
    Column("streamed", Integer, nullable=False),
    Column("background", Integer, nullable=False),
    Column("first_ms", BigInteger),
    Column("total_ms", BigInteger, nullable=False),
    Column("object_id", Text),
    Column("request_id", Text, nullable=False),
    # As few as can be: each costs every call.
    Index("ix_ledger_at_project_id", "at", "project_id"),
    Index("ix_ledger_object_id", "object_id"),
)

HARD = "hard = 1"

# `spent` belongs to the window that began at `window`; a later window begins with nothing. `reserved` is what calls
# that are being made may come to cost, and belongs to no window. `subject` is empty for the organisation.
budgets = Table(
    "budgets",
    metadata,
    Column("seq", _Sequence, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("scope", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("period", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("hard", Integer, nullable=False),
    Column("allow_unknown", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("channel", LargeBinary),
    Column("window", BigInteger, nullable=False),
    Column("spent", BigInteger, nullable=False),
    Column("reserved", BigInteger, nullable=False),
    Column("alerted", BigInteger, nullable=False),
    Index(
        "ix_budgets_hard",
        "scope",
        "subject",
        "period",
        unique=True,
        sqlite_where=text(HARD),
        postgresql_where=text(HARD),
    ),
)

# `budgets`: ids with commas between. After `until` (Unix milliseconds) its server is taken for dead. `object_id`: the
# background response that it is for, which another server goes on with.
reservations = Table(
    "reservations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("budgets", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),
    Column("object_id", Text),
    Index("ix_reservations_object_id", "object_id"),
    Index("ix_reservations_until", "until"),
    Index("ix_reservations_owner", "owner"),
)

# Answers that may be given again. `key` is a keyed hash of what was asked; `body` the answer's deltas; `upstream` and
# `model` name the target that made it.
cached_answers = Table(
    "cached_answers",
    metadata,
    Column("project_id", Text, ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    Column("key", LargeBinary, primary_key=True),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("upstream", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("ix_cached_answers_project_id_created_at", "project_id", "created_at"),
    Index("ix_cached_answers_created_at", "created_at"),
    Index("ix_cached_answers_expires_at", "expires_at"),
)

# One row for each project that has a cache or a rule for it. `ttl`: seconds; null: each route's own rule; 0: none at
# all. `size`: the sum of its answers' sizes, so that no write has to add them up.
caches = Table(
    "caches",
    metadata,
    Column("project_id", Text, ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    Column("ttl", BigInteger),
    Column("size", BigInteger, nullable=False, server_default=text("0")),
)

# Which key used what its maker shuts down: `subject` is "model:NAME" or "endpoint:PATH", `last_day` the start of the
# last day (UTC) on which it did.
retiring_uses = Table(
    "retiring_uses",
    metadata,
    Column("project_id", Text, ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("last_day", BigInteger, nullable=False),
    Column("count", BigInteger, nullable=False),
)

# Sessions of browsers. `digest`: a keyed hash of the token in the cookie.
sessions = Table(
    "sessions",
    metadata,
    Column("seq", _Sequence, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("key_id", Text, ForeignKey("api_keys.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
)
