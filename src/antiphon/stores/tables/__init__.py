"""The tables, as the newest migration leaves them. A test compares the two on both databases.

Each module holds the tables of one subject; all of them are named here.
"""

from __future__ import annotations

from antiphon.stores.tables.answers import cached_answers, caches, idempotency_keys, retiring_uses
from antiphon.stores.tables.base import metadata, probes
from antiphon.stores.tables.conversations import (
    chat_completion_metadata,
    chat_completions,
    conversation_items,
    conversations,
    prompt_versions,
    prompts,
)
from antiphon.stores.tables.jobs import (
    JOB_CANCELLED,
    JOB_ENDED,
    JOB_HELD,
    JOB_LOST,
    JOB_OPEN,
    JOB_QUEUED,
    jobs,
    workers,
)
from antiphon.stores.tables.money import budgets, ledger, reservations
from antiphon.stores.tables.organisation import (
    admin_api_keys,
    audit_logs,
    invites,
    project_users,
    service_accounts,
    users,
)
from antiphon.stores.tables.responses import HAS_LOG, UNFINISHED, items, response_events, responses
from antiphon.stores.tables.tenancy import api_keys, projects, rate_limits, sessions

__all__ = [
    "HAS_LOG",
    "JOB_CANCELLED",
    "JOB_ENDED",
    "JOB_HELD",
    "JOB_LOST",
    "JOB_OPEN",
    "JOB_QUEUED",
    "UNFINISHED",
    "admin_api_keys",
    "api_keys",
    "audit_logs",
    "budgets",
    "cached_answers",
    "caches",
    "chat_completion_metadata",
    "chat_completions",
    "conversation_items",
    "conversations",
    "idempotency_keys",
    "invites",
    "items",
    "jobs",
    "ledger",
    "metadata",
    "probes",
    "project_users",
    "projects",
    "prompt_versions",
    "prompts",
    "rate_limits",
    "reservations",
    "response_events",
    "responses",
    "retiring_uses",
    "service_accounts",
    "sessions",
    "users",
    "workers",
]
