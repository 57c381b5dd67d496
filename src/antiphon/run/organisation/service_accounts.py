"""Service accounts: who programs are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from antiphon.domain.errors import InvalidRequest, NotFound
from antiphon.domain.ids import new_id
from antiphon.domain.organisation import PROJECT_ROLES, Actor, AuditEntry, ServiceAccount, changed
from antiphon.domain.records import Page
from antiphon.domain.tenancy import Key
from antiphon.policy.administration.values import checked_name, checked_role, checked_scopes, expiry
from antiphon.policy.keys.first_run import make_key
from antiphon.ports import Clock, Store
from antiphon.run.organisation.projects import Projects

#: Of a service account that was made without a place in its project.
NO_ROLE = "none"


class NewKey(NamedTuple):
    """A key that was just made, with the secret that is shown this once."""

    secret: str
    key: Key


class ServiceAccounts:
    """The service accounts of projects."""

    def __init__(self, store: Store, clock: Clock, secret: bytes, projects: Projects) -> None:
        self._store = store
        self._clock = clock
        self._secret = secret
        self._projects = projects

    async def create(
        self, actor: Actor, project_id: str, name: str, *, alone: bool = False, life: int | None = None
    ) -> tuple[ServiceAccount, NewKey | None]:
        """Add a service account with a key that lives `life` seconds (None: for ever); `alone`: no key and no role.

        Raises `NotFound`, `InvalidRequest`.
        """
        project = await self._projects.get_active(project_id)
        if alone and life is not None:
            raise InvalidRequest(
                "'expires_in_seconds' is for the key that 'create_service_account_only' leaves out.",
                code="invalid_value",
                param="expires_in_seconds",
            )
        now = self._clock.now()
        account = ServiceAccount(
            new_id("svc_acct_"), project.id, checked_name(name), NO_ROLE if alone else "member", int(now)
        )
        told = {"name": account.name, "role": account.role}
        entries = [AuditEntry("service_account.created", actor, account.id, project.id, after=told)]
        made = None
        if not alone:
            made = self._make_key(account, account.name, life)
            entries.append(key_created(actor, made.key))
        await self._store.add_service_account(account, made and made.key, entries)
        return account, made

    async def get(self, project_id: str, account_id: str) -> ServiceAccount:
        """A service account. Raises `NotFound`."""
        await self._projects.get(project_id)
        account = await self._store.get_service_account(project_id, account_id)
        if account is None:
            raise _no_account(account_id)
        return account

    async def page(self, project_id: str, *, after: str | None, limit: int) -> Page[ServiceAccount]:
        """A page of service accounts. Raises `NotFound`, also for an unknown `after`."""
        await self._projects.get_active(project_id)
        return await self._store.list_service_accounts(project_id, after=after, limit=limit)

    async def update(
        self, actor: Actor, project_id: str, account_id: str, *, name: str | None, role: str | None
    ) -> ServiceAccount:
        """Change what is given. Raises `NotFound`, `InvalidRequest`."""
        await self._projects.get_active(project_id)
        account = await self.get(project_id, account_id)
        new = replace(
            account,
            name=account.name if name is None else checked_name(name),
            role=account.role if role is None else checked_role(role, PROJECT_ROLES),
        )
        before, after = changed({"name": account.name, "role": account.role}, {"name": new.name, "role": new.role})
        entry = AuditEntry("service_account.updated", actor, account.id, project_id, before, after)
        if after and not await self._store.update_service_account(new, [entry]):
            raise _no_account(account_id)
        return new

    async def delete(self, actor: Actor, project_id: str, account_id: str) -> None:
        """Delete a service account, and revoke its keys. Raises `NotFound`, `InvalidRequest`."""
        await self._projects.get_active(project_id)
        account = await self.get(project_id, account_id)
        told = {"name": account.name, "role": account.role}
        entry = AuditEntry("service_account.deleted", actor, account.id, project_id, before=told)
        if not await self._store.delete_service_account(project_id, account_id, int(self._clock.now()), [entry]):
            raise _no_account(account_id)

    async def create_key(
        self,
        actor: Actor,
        project_id: str,
        account_id: str,
        *,
        name: str | None,
        life: int | None,
        scopes: Sequence[str] = (),
    ) -> NewKey:
        """A further key of a service account; no `scopes` are all. Raises `NotFound`, `InvalidRequest`."""
        await self._projects.get_active(project_id)
        account = await self.get(project_id, account_id)
        if account.role == NO_ROLE:
            raise InvalidRequest(
                "This service account has no role in its project, so a key of it could do nothing. Give it one first.",
                code="service_account_without_role",
                param="service_account_id",
            )
        made = self._make_key(account, account.name if name is None else checked_name(name), life)
        made = NewKey(made.secret, replace(made.key, scopes=checked_scopes(scopes)))
        await self._store.add_key(made.key, [key_created(actor, made.key)])
        return made

    def _make_key(self, account: ServiceAccount, name: str, life: int | None) -> NewKey:
        until = expiry(life, self._clock.now())
        secret, key = make_key(account.project_id, name, self._secret, expires_at=until)
        return NewKey(secret, replace(key, service_account_id=account.id))


def key_created(actor: Actor, key: Key) -> AuditEntry:
    """What the log says of a new key."""
    told: dict[str, object] = {
        "name": key.name,
        "expires_at": key.expires_at,
        "owner": key.service_account_id or key.user_id,
        "scopes": None if key.scopes is None else list(key.scopes),
    }
    told = {name: value for name, value in told.items() if value is not None}
    return AuditEntry("api_key.created", actor, key.id, key.project_id, after=told)


def _no_account(account_id: str) -> NotFound:
    return NotFound(
        f"No service account with id '{account_id[:100]}' found.",
        code="service_account_not_found",
        param="service_account_id",
    )
