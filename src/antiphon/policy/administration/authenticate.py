"""Who is administering: the first stage of every call below /v1/organization."""

from __future__ import annotations

from antiphon.domain import keys, limits
from antiphon.domain.errors import StoreUnavailable, Unauthenticated
from antiphon.domain.organisation import Administrator
from antiphon.policy.authenticate import bearer
from antiphon.ports import Clock, OrganisationStore
from antiphon.telemetry.logs import logger

_log = logger(__name__)


class AdminAuthenticator:
    """Turns an `Authorization` header into who is administering. These calls are rare: nothing is remembered."""

    def __init__(self, store: OrganisationStore, server_secret: bytes, clock: Clock) -> None:
        self._store = store
        self._secret = server_secret
        self._clock = clock

    async def __call__(self, authorization: str | None) -> Administrator:
        """Whoever has the valid admin key of this header. Raises `Unauthenticated`, whatever goes wrong."""
        try:
            return await self._find(bearer(authorization))
        except (Unauthenticated, StoreUnavailable):
            raise
        except Exception as error:
            _log.error("authentication failed", error=type(error).__name__, exc_info=error)
            raise Unauthenticated("The key could not be checked.") from None

    async def _find(self, secret: str) -> Administrator:
        found = await self._store.find_administrator(keys.digest(self._secret, secret))
        now = self._clock.now()
        if found is None or not found.key.valid_at(now):
            if secret.startswith(keys.PREFIX) and not secret.startswith(keys.ADMIN_PREFIX):
                raise Unauthenticated(
                    "This is a project's key. The organisation is administered with an admin key; "
                    "`antiphon admin-keys create` makes one."
                )
            raise Unauthenticated("Incorrect admin API key provided.")
        if found.key.user_id is not None and found.user is None:
            raise Unauthenticated("The user of this admin API key is gone.")
        if now - (found.key.last_used_at or 0) >= limits.ADMIN_USE_TICK:
            await self._store.admin_key_used(found.key.id, int(now))
        return found
