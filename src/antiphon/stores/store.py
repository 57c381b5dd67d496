"""The whole database, as `ports.Store` asks for it."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import literal_column, select

from antiphon.stores.access import AccessSection
from antiphon.stores.admin_keys import AdminKeySection
from antiphon.stores.audit import AuditSection
from antiphon.stores.budgets import BudgetSection
from antiphon.stores.cached_answers import CachedAnswerSection
from antiphon.stores.claims import ClaimSection
from antiphon.stores.completions import CompletionSection
from antiphon.stores.conversations import ConversationSection
from antiphon.stores.database import Database, driver_for
from antiphon.stores.event_logs import EventLogSection
from antiphon.stores.idempotency import IdempotencyKeySection
from antiphon.stores.invites import InviteSection
from antiphon.stores.jobs import JobSection
from antiphon.stores.ledger import LedgerSection
from antiphon.stores.presence import WorkerSection
from antiphon.stores.projects import ProjectSection
from antiphon.stores.prompts import PromptSection
from antiphon.stores.query import DatabaseSession, Statement
from antiphon.stores.responses import ResponseSection
from antiphon.stores.retiring_uses import RetiringUseSection
from antiphon.stores.service_accounts import ServiceAccountSection
from antiphon.stores.sessions import SessionSection
from antiphon.stores.tenants import TenantSection
from antiphon.stores.unfinished import UnfinishedResponseSection
from antiphon.stores.users import UserSection

_PING = Statement(select(literal_column("1")))


class Organisation(UserSection, ServiceAccountSection, InviteSection, AdminKeySection, ProjectSection, AuditSection):
    """Implements `ports.OrganisationStore` and `ports.AuditStore`."""


class Accounts(LedgerSection, BudgetSection, CachedAnswerSection, RetiringUseSection):
    """Implements `ports.LedgerStore`, `ports.BudgetStore`, `ports.CacheStore` and `ports.UseStore`."""


class Work(ResponseSection, UnfinishedResponseSection, EventLogSection):
    """Implements `ports.ResponseStore`."""


class JobQueue(JobSection, ClaimSection, WorkerSection):
    """Implements `ports.JobStore` and `ports.WorkerStore`."""


class SqlStore(
    TenantSection,
    SessionSection,
    Work,
    JobQueue,
    ConversationSection,
    CompletionSection,
    PromptSection,
    IdempotencyKeySection,
    AccessSection,
    Organisation,
    Accounts,
):
    """Implements `ports.Store` on SQLite or PostgreSQL."""

    def __init__(self, url: str, *, backups: Path | None) -> None:
        """`url`: `sqlite:///<path, as it is>` or `postgresql://…` (libpq's form). Raises `SetupError` for others.

        `backups`: the folder for copies of a SQLite file before its migration; None for no copies.
        """
        super().__init__(Database(driver_for(url)))
        self._backups = backups

    async def open(self) -> None:
        """Connect and bring the schema up to date (after a copy of the file, where it is one).

        Raises `SetupError` with what to do if the database cannot be used.
        """
        await self._database.open(self._backups)

    async def close(self) -> None:
        """Write what is pending and disconnect. Safe to call twice."""
        await self._database.close()

    async def ping(self) -> None:
        """Raise `StoreFailed` unless the database answers."""
        self._database.check()
        await self._database.read(_ping)

    async def check_writable(self) -> None:
        """Raise `StoreUnavailable` unless the database takes writes; see `ports`."""
        await self._database.check_writable()

    @property
    def writes_waiting(self) -> int:
        """Writes that have been asked for and not begun."""
        return self._database.writes_waiting


def _ping(session: DatabaseSession) -> None:
    session.all(_PING, {})
