"""Admin keys."""

from __future__ import annotations

from typing import NamedTuple

from antiphon.domain import keys
from antiphon.domain.errors import NotFound
from antiphon.domain.ids import new_id
from antiphon.domain.organisation import ORG_ROLES, Actor, AuditEntry, User
from antiphon.domain.tenancy import AdminKey
from antiphon.policy.administration.values import checked_name, checked_role, expiry
from antiphon.ports import Clock, OrganisationStore


class OwnedAdminKey(NamedTuple):
    """An admin key and its user."""

    key: AdminKey
    user: User | None


class AdminKeys:
    """The admin keys. A revoked one is gone."""

    def __init__(self, store: OrganisationStore, clock: Clock, secret: bytes) -> None:
        self._store = store
        self._clock = clock
        self._secret = secret

    async def create(
        self, actor: Actor, user: User | None, name: str, *, role: str = "owner", life: int | None = None
    ) -> tuple[str, OwnedAdminKey]:
        """A new admin key of this user, which lives `life` seconds (None: for ever), and its secret.

        Raises `InvalidRequest`.
        """
        now = self._clock.now()
        secret = keys.new_secret(keys.ADMIN_PREFIX)
        key = AdminKey(
            id=new_id("key_"),
            name=checked_name(name),
            digest=keys.digest(self._secret, secret),
            hint=keys.hint(secret),
            role=checked_role(role, ORG_ROLES),
            created_at=int(now),
            expires_at=expiry(life, now),
            user_id=None if user is None else user.id,
        )
        told = {"name": key.name, "role": key.role, "expires_at": key.expires_at, "owner": key.user_id}
        told = {name: value for name, value in told.items() if value is not None}
        await self._store.create_admin_key(key, [AuditEntry("api_key.created", actor, key.id, after=told)])
        return secret, OwnedAdminKey(key, user)

    async def get(self, key_id: str) -> OwnedAdminKey:
        """An admin key. Raises `NotFound`."""
        key = await self._store.get_admin_key(key_id)
        if key is None or key.revoked_at is not None:
            raise _no_key(key_id)
        return await self._owned(key)

    async def page(self, *, after: str | None, limit: int, ascending: bool) -> tuple[list[OwnedAdminKey], bool]:
        """A page of admin keys, and whether there are more. Raises `NotFound` for an unknown `after`."""
        page = await self._store.list_admin_keys(after=after, limit=limit, ascending=ascending)
        return [await self._owned(key) for key in page.data], page.has_more

    async def delete(self, actor: Actor, key_id: str) -> None:
        """Revoke an admin key. Raises `NotFound`, and `Conflict` if it is the acting user's last one."""
        found = await self.get(key_id)
        entry = AuditEntry("api_key.deleted", actor, key_id, before={"name": found.key.name})
        keeps = actor.user_id if found.key.user_id == actor.user_id else None
        if not await self._store.revoke_admin_key(key_id, int(self._clock.now()), [entry], keeps=keeps):
            raise _no_key(key_id)

    async def _owned(self, key: AdminKey) -> OwnedAdminKey:
        return OwnedAdminKey(key, None if key.user_id is None else await self._store.get_user(key.user_id))


def _no_key(key_id: str) -> NotFound:
    return NotFound(f"No admin API key with id '{key_id[:100]}' found.", code="api_key_not_found", param="key_id")
