"""Who is calling: the first stage of every call."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from antiphon.domain import keys, limits
from antiphon.domain.errors import StoreUnavailable, Unauthenticated
from antiphon.domain.scopes import permits
from antiphon.domain.tenancy import Caller
from antiphon.ports import Clock, TenantStore
from antiphon.telemetry.logs import logger

_log = logger(__name__)


class Authenticator:
    """Turns an `Authorization` header into who is calling.

    Keys are found by their keyed hash: the secret itself is compared with nothing, so no comparison's timing can tell
    anything about it. Found keys are remembered for `limits.KEY_CACHE_TTL` seconds, which is how long a revoked key
    may go on working; unknown ones are not remembered, so a new key works at once. Those that are no longer valid are
    not remembered either: an unknown key and a revoked one take the same way, and so the same time.
    """

    def __init__(
        self, store: TenantStore, server_secret: bytes, clock: Clock, uses: dict[str, float] | None = None
    ) -> None:
        """`uses`: where it is written when keys (by id) were last used (Unix seconds); see `LastUsed`."""
        self._store = store
        self._uses = {} if uses is None else uses
        self._digest: Callable[[str], bytes] = lambda key: keys.digest(server_secret, key)
        # What is remembered is known by a hash of this process' own: a third of the work, and worth nothing elsewhere.
        self._own = os.urandom(32)
        self._clock = clock
        self._known: OrderedDict[bytes, tuple[Caller, float]] = OrderedDict()

    async def __call__(self, authorization: str | None) -> Caller:
        """Whoever has the valid key of this header. Raises `Unauthenticated`, whatever goes wrong."""
        try:
            return await self._key_of(authorization)
        except (Unauthenticated, StoreUnavailable):
            # A database that is away says nothing of the key: the call is refused, but worth sending again.
            raise
        except Exception as error:
            _log.error("authentication failed", error=type(error).__name__, exc_info=error)
            raise Unauthenticated("The key could not be checked.") from None

    async def _key_of(self, authorization: str | None) -> Caller:
        secret = bearer(authorization)
        if secret.startswith(keys.ADMIN_PREFIX):
            raise Unauthenticated("This is an admin key: it opens /v1/organization only. Use a project's key here.")
        name = hashlib.blake2b(secret.encode("utf-8", "surrogatepass"), key=self._own, digest_size=32).digest()
        now = self._clock.now()
        caller = self._remembered(name) or await self._look_up(name, secret, now)
        if caller is None or not caller.key.valid_at(now):
            raise Unauthenticated("Incorrect API key provided. `antiphon env` prints the key of a local server.")
        if caller.project.archived_at is not None:
            raise Unauthenticated("The project of this API key is archived.", code="project_archived")
        self._uses[caller.key.id] = now
        return caller

    def _remembered(self, name: bytes) -> Caller | None:
        found = self._known.get(name)
        if found is None or self._clock.monotonic() >= found[1]:
            return None
        return found[0]

    async def _look_up(self, name: bytes, secret: str, now: float) -> Caller | None:
        caller = await self._store.find_caller(self._digest(secret))
        if caller is None or not caller.key.valid_at(now):
            return None
        key = caller.key
        caller = replace(caller, permits=permits(key.scopes, key.models, key.addresses))
        self._known[name] = (caller, self._clock.monotonic() + limits.KEY_CACHE_TTL)
        self._known.move_to_end(name)
        if len(self._known) > limits.KEY_CACHE_SIZE:
            self._known.popitem(last=False)
        return caller


def bearer(authorization: str | None) -> str:
    """The secret in an `Authorization` header. Raises `Unauthenticated` if there is none."""
    if not authorization:
        raise Unauthenticated(
            "You didn't provide an API key. Send one in the header 'Authorization: Bearer YOUR_KEY'. "
            "`antiphon env` prints one.",
            code="missing_api_key",
        )
    scheme, _, secret = authorization.partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret:
        raise Unauthenticated("The Authorization header must be 'Bearer YOUR_KEY'.", code="invalid_authorization")
    return secret
