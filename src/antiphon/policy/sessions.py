"""Sessions of browsers: the second way to show who is calling.

A page cannot keep an API key safely. So it gives the key once and gets a random token in a cookie that its scripts
cannot read. The token opens what the key opens: the caller is the same. The session ends with its time, when it is
ended, and with its key, since the key is looked at anew for every request.
"""

from __future__ import annotations

import base64
import hmac
import os
from dataclasses import replace

from antiphon.domain import keys, limits
from antiphon.domain.errors import StoreUnavailable, Unauthenticated
from antiphon.domain.ids import new_id
from antiphon.domain.scopes import permits
from antiphon.domain.sessions import Session
from antiphon.domain.tenancy import Caller
from antiphon.ports import Clock, SessionStore
from antiphon.telemetry.logs import logger

_log = logger(__name__)
#: 256 random bits.
_TOKEN_BYTES = 32
_MAX_TOKEN = 64


class Sessions:
    """Opens, finds and ends sessions. Tokens are found by a keyed hash, as keys are: see `Authenticator`."""

    def __init__(
        self, store: SessionStore, server_secret: bytes, clock: Clock, uses: dict[str, float] | None = None
    ) -> None:
        """`uses`: where it is written when keys (by id) were last used (Unix seconds)."""
        self._store = store
        # Secrets of their own: what is a token here is never a key, and the other way round.
        self._token_secret = hmac.digest(server_secret, b"antiphon session tokens", "sha256")
        self._csrf_secret = hmac.digest(server_secret, b"antiphon session csrf", "sha256")
        self._clock = clock
        self._uses = {} if uses is None else uses

    async def open(self, caller: Caller) -> tuple[str, Session]:
        """A new session of this caller, and its token, which is shown once and never stored."""
        token = base64.urlsafe_b64encode(os.urandom(_TOKEN_BYTES)).rstrip(b"=").decode()
        now = int(self._clock.now())
        expires_at = now + limits.SESSION_TTL
        if caller.key.expires_at is not None:
            expires_at = min(expires_at, caller.key.expires_at)
        session = Session(new_id("sess_"), caller.key.id, self._digest(token), now, expires_at)
        await self._store.add_session(session, most=limits.MAX_SESSIONS_PER_KEY)
        _log.info("session opened", session=session.id, project=caller.project.id, key=caller.key.id)
        return token, session

    async def find(self, token: str) -> tuple[Session, Caller]:
        """The session that this token opens, and its caller. Raises `Unauthenticated`, whatever goes wrong."""
        try:
            return await self._find(token)
        except (Unauthenticated, StoreUnavailable):
            raise
        except Exception as error:
            _log.error("authentication failed", error=type(error).__name__, exc_info=error)
            raise Unauthenticated("The session could not be checked.") from None

    async def _find(self, token: str) -> tuple[Session, Caller]:
        found = await self._store.find_session(self._digest(token)) if len(token) <= _MAX_TOKEN else None
        now = self._clock.now()
        if found is None or now >= found[0].expires_at or not found[1].key.valid_at(now):
            raise Unauthenticated("This session has ended. Open another one.", code="invalid_session")
        session, caller = found
        if caller.project.archived_at is not None:
            raise Unauthenticated("The project of this session is archived.", code="project_archived")
        key = caller.key
        self._uses[key.id] = now
        return session, replace(caller, permits=permits(key.scopes, key.models, key.addresses))

    async def end(self, session: Session) -> None:
        """End a session: its token opens nothing any more."""
        await self._store.delete_session(session.digest)
        _log.info("session ended", session=session.id, key=session.key_id)

    def csrf_token(self, token: str) -> str:
        """What a page sends along to show that it is the one that has opened the session, and not another site's."""
        return hmac.digest(self._csrf_secret, token.encode("utf-8", "surrogatepass"), "sha256").hex()

    def is_csrf_token(self, token: str, sent: str) -> bool:
        """Whether this is the session's; compared in constant time."""
        return hmac.compare_digest(self.csrf_token(token).encode(), sent.encode("utf-8", "surrogatepass"))

    def _digest(self, token: str) -> bytes:
        return keys.digest(self._token_secret, token)
