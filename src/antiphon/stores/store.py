"""The whole database, as `ports.Store` asks for it."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import literal_column, select

from antiphon.stores.access import Access
from antiphon.stores.admin_keys import AdminKeys
from antiphon.stores.audit import Audit
from antiphon.stores.budgets import Budgets
from antiphon.stores.cached_answers import CachedAnswers
from antiphon.stores.claims import Claims
from antiphon.stores.completions import Completions
from antiphon.stores.conversations import Conversations
from antiphon.stores.database import Database, driver_for
from antiphon.stores.event_logs import EventLogs
from antiphon.stores.idempotency import IdempotencyKeys
from antiphon.stores.invites import Invites
from antiphon.stores.jobs import Jobs
from antiphon.stores.ledger import Ledger
from antiphon.stores.presence import Presence
from antiphon.stores.projects import Projects
from antiphon.stores.prompts import Prompts
from antiphon.stores.query import Query, Session
from antiphon.stores.responses import Responses
from antiphon.stores.retiring_uses import RetiringUses
from antiphon.stores.service_accounts import ServiceAccounts
from antiphon.stores.sessions import Sessions
from antiphon.stores.tenants import Tenants
from antiphon.stores.unfinished import UnfinishedResponses
from antiphon.stores.users import Users

_PING = Query(select(literal_column("1")))


class Organisation(Users, ServiceAccounts, Invites, AdminKeys, Projects, Audit):
    """Implements `ports.OrganisationStore` and `ports.AuditStore`."""


class Accounts(Ledger, Budgets, CachedAnswers, RetiringUses):
    """Implements `ports.LedgerStore`, `ports.BudgetStore`, `ports.CacheStore` and `ports.UseStore`."""


class Work(Responses, UnfinishedResponses, EventLogs):
    """Implements `ports.ResponseStore`."""


class JobQueue(Jobs, Claims, Presence):
    """Implements `ports.JobStore` and `ports.WorkerStore`."""


class SqlStore(
    Tenants,
    Sessions,
    Work,
    JobQueue,
    Conversations,
    Completions,
    Prompts,
    IdempotencyKeys,
    Access,
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


def _ping(session: Session) -> None:
    session.all(_PING, {})
