"""The whole database."""

from __future__ import annotations

from typing import Protocol

from antiphon.ports.caching import CacheStore
from antiphon.ports.completions import CompletionStore
from antiphon.ports.conversations import ConversationStore
from antiphon.ports.idempotency import KeyStore
from antiphon.ports.jobs import JobStore, WorkerStore
from antiphon.ports.money import BudgetStore, LedgerStore
from antiphon.ports.organisation import AuditStore, OrganisationStore
from antiphon.ports.prompts import PromptStore
from antiphon.ports.responses import ResponseStore
from antiphon.ports.sessions import SessionStore
from antiphon.ports.shutdowns import UseStore
from antiphon.ports.tenants import AccessStore, TenantStore


class Store(
    TenantStore,
    AccessStore,
    ResponseStore,
    JobStore,
    WorkerStore,
    ConversationStore,
    CompletionStore,
    PromptStore,
    KeyStore,
    OrganisationStore,
    LedgerStore,
    BudgetStore,
    AuditStore,
    CacheStore,
    UseStore,
    SessionStore,
    Protocol,
):
    """The whole database."""

    async def open(self) -> None:
        """Connect and bring the schema up to date (after a copy of the file, where it is one)."""

    async def close(self) -> None:
        """Write what is pending and disconnect. Safe to call twice."""

    async def ping(self) -> None:
        """Raise `StoreFailed` unless the database answers."""

    async def check_writable(self) -> None:
        """Raise `StoreUnavailable` unless the database takes writes. To be asked before anything is paid for."""

    @property
    def writes_waiting(self) -> int:
        """Writes that have been asked for and not begun."""
