"""The keys of projects, as administrators see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from antiphon.domain.errors import InvalidRequest, NotFound
from antiphon.domain.organisation import Actor, AuditEntry, ServiceAccount, User, changed
from antiphon.domain.tenancy import Key
from antiphon.policy.administration.values import checked_scopes, expiry
from antiphon.ports import Clock, Store
from antiphon.protocol.refusals import missing_parameter
from antiphon.run.organisation.projects import Projects


class OwnedKey(NamedTuple):
    """A key, and whose it is: a service account's, or a user's with their role in the project."""

    key: Key
    account: ServiceAccount | None
    user: User | None
    role: str


class Keys:
    """The keys of projects. A revoked one is gone."""

    def __init__(self, store: Store, clock: Clock, projects: Projects) -> None:
        self._store = store
        self._clock = clock
        self._projects = projects

    async def get(self, project_id: str, key_id: str) -> OwnedKey:
        """A key. Raises `NotFound`."""
        return await self._owned(await self._key(project_id, key_id))

    async def page(self, project_id: str, *, after: str | None, limit: int) -> tuple[list[OwnedKey], bool]:
        """A page of keys, and whether there are more. Raises `NotFound`, also for an unknown `after`."""
        await self._projects.get(project_id)
        page = await self._store.page_of_keys(project_id, after=after, limit=limit)
        return [await self._owned(key) for key in page.data], page.has_more

    async def update(
        self, actor: Actor, project_id: str, key_id: str, *, life: int | None, scopes: Sequence[str] | None
    ) -> OwnedKey:
        """Have a key expire `life` seconds from now, or change what it may do; None leaves either as it is.

        Raises `NotFound`, `InvalidRequest`.
        """
        await self._projects.get_active(project_id)
        key = await self._key(project_id, key_id)
        now = self._clock.now()
        if not key.valid_at(now):
            raise InvalidRequest("An expired key cannot be updated.", code="key_expired", param="api_key_id")
        if life is None and scopes is None:
            raise missing_parameter("expires_in_seconds")
        new = replace(
            key,
            expires_at=key.expires_at if life is None else expiry(life, now),
            scopes=key.scopes if scopes is None else checked_scopes(scopes),
        )
        before, after = changed(_fields(key), _fields(new))
        entry = AuditEntry("api_key.updated", actor, key.id, project_id, before, after)
        if after and not await self._store.update_project_key(new, [entry]):
            raise _no_key(key_id)
        return await self._owned(new)

    async def delete(self, actor: Actor, project_id: str, key_id: str) -> None:
        """Revoke a key. Raises `NotFound`."""
        key = await self._key(project_id, key_id)
        entry = AuditEntry("api_key.deleted", actor, key.id, project_id, before={"name": key.name})
        if not await self._store.revoke_project_key(project_id, key_id, int(self._clock.now()), [entry]):
            raise _no_key(key_id)

    async def _key(self, project_id: str, key_id: str) -> Key:
        await self._projects.get(project_id)
        key = await self._store.get_project_key(project_id, key_id)
        if key is None:
            raise _no_key(key_id)
        return key

    async def _owned(self, key: Key) -> OwnedKey:
        """Keys that were made for nobody in particular are the default user's."""
        if key.service_account_id is not None:
            account = await self._store.get_service_account(key.project_id, key.service_account_id)
            return OwnedKey(key, account, None, "" if account is None else account.role)
        user = None if key.user_id is None else await self._store.get_user(key.user_id)
        user = user or await self._store.first_user()
        member = None if user is None else await self._store.get_member(key.project_id, user.id)
        # The organisation's owners are at home in every project.
        return OwnedKey(key, None, user, "owner" if member is None else member.role)


def _fields(key: Key) -> dict[str, object]:
    return {"expires_at": key.expires_at, "scopes": None if key.scopes is None else list(key.scopes)}


def _no_key(key_id: str) -> NotFound:
    return NotFound(f"No API key with id '{key_id[:100]}' found.", code="api_key_not_found", param="api_key_id")
