"""Service accounts in the database."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, delete, select, update

from antiphon.domain.organisation import AuditEntry, ServiceAccount
from antiphon.domain.records import Page
from antiphon.domain.tenancy import Key
from antiphon.stores.audited import AuditedSection, page, record, row_of
from antiphon.stores.query import DatabaseSession, Statement, insertion
from antiphon.stores.section import PageCursor, is_valid_id, require_valid_id
from antiphon.stores.tables import api_keys, service_accounts
from antiphon.stores.tenants import insert_key

_FIELDS = tuple(ServiceAccount.__dataclass_fields__)
_ACCOUNT = tuple(service_accounts.c[name] for name in _FIELDS)
_NAMED = (
    service_accounts.c.project_id == bindparam("project"),
    service_accounts.c.id == bindparam("account"),
)

_ADD = insertion(service_accounts)
_GET = Statement(select(*_ACCOUNT).where(*_NAMED))
_UPDATE = Statement(
    update(service_accounts).where(*_NAMED).values(name=bindparam("new_name"), role=bindparam("new_role"))
)
_DELETE = Statement(delete(service_accounts).where(*_NAMED))
_REVOKE_KEYS = Statement(
    update(api_keys)
    .where(
        api_keys.c.project_id == bindparam("project"),
        api_keys.c.service_account_id == bindparam("account"),
        api_keys.c.revoked_at.is_(None),
    )
    .values(revoked_at=bindparam("at"))
)


class ServiceAccountSection(AuditedSection):
    """Implements the service accounts' part of `ports.OrganisationStore`."""

    async def add_service_account(
        self, account: ServiceAccount, key: Key | None, entries: Sequence[AuditEntry] = ()
    ) -> None:
        """Add a service account, with its first key where one is given."""
        require_valid_id(account.id, account.project_id, account.name)

        def change(session: DatabaseSession) -> None:
            session.run(_ADD, row_of(account, _FIELDS))
            if key is not None:
                insert_key(session, key)
            record(session, *entries)

        await self._change(change)

    async def get_service_account(self, project_id: str, account_id: str) -> ServiceAccount | None:
        """The service account; None if this project has none of that id."""
        if not is_valid_id(project_id, account_id):
            return None
        return await self._database.read(_get, project_id, account_id)

    async def list_service_accounts(self, project_id: str, *, after: str | None, limit: int) -> Page[ServiceAccount]:
        """A page of a project's service accounts; see `ports`."""
        where = [service_accounts.c.project_id == project_id]
        cut = PageCursor(after, limit, ascending=True)
        return await self._database.read(page, service_accounts, _ACCOUNT, where, cut, ServiceAccount)

    async def update_service_account(self, account: ServiceAccount, entries: Sequence[AuditEntry] = ()) -> bool:
        """Change name and role; False if there is no such service account."""

        def change(session: DatabaseSession) -> bool:
            values = {"project": account.project_id, "account": account.id}
            found = session.run(_UPDATE, {**values, "new_name": account.name, "new_role": account.role}) > 0
            if found:
                record(session, *entries)
            return found

        return await self._change(change)

    async def delete_service_account(
        self, project_id: str, account_id: str, at: int, entries: Sequence[AuditEntry] = ()
    ) -> bool:
        """Delete a service account, and revoke its keys; see `ports`."""

        def change(session: DatabaseSession) -> bool:
            found = session.run(_DELETE, {"project": project_id, "account": account_id}) > 0
            if found:
                session.run(_REVOKE_KEYS, {"project": project_id, "account": account_id, "at": at})
                record(session, *entries)
            return found

        return is_valid_id(project_id, account_id) and await self._change(change)


def _get(session: DatabaseSession, project_id: str, account_id: str) -> ServiceAccount | None:
    row = session.one(_GET, {"project": project_id, "account": account_id})
    return ServiceAccount(*row) if row else None
