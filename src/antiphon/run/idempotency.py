"""Idempotency keys: a request that is sent twice with one key is answered once, and the answer is given twice.

Who holds a key is written in the database, so that it holds for all servers and after a crash. An answer whose content
may not be stored (`store: false`) is kept in this process's memory only; elsewhere its key is known to be used up.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass

from antiphon.domain import limits
from antiphon.domain.durations import milliseconds
from antiphon.domain.errors import AntiphonError, Conflict
from antiphon.domain.records import KeyClaim, KeyState
from antiphon.jobs.steady import SteadyTime
from antiphon.periodic import run_forever
from antiphon.ports import Clock, KeyStore
from antiphon.telemetry.logs import logger

Name = tuple[str, bytes]

#: The `content_type` of an answer that is a background response's stream: its body is the response's id, and its
#: bytes are in that response's event log.
FOLLOW = "response"
#: Refusals that say something of the moment, not of the request: trying again is right, so they are not kept. What is
#: 500 and above is not kept either.
_PASSING = frozenset({401, 408, 409, 425, 429})

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it was given. `object_id`: what it shows."""

    status: int
    content_type: str
    body: bytes
    object_id: str | None = None


class KeyReused(Conflict):
    """The key was used for another request before (409)."""

    code = "idempotency_key_reused"


class AnswerNotKept(Conflict):
    """The request was answered, and the answer is gone (409)."""

    code = "idempotent_answer_not_kept"


class Attempt:
    """The one attempt at answering a request. It is closed at the end, whatever happened.

    Pieces of the answer are added as they are sent; `settle` makes it the answer of its key.
    """

    def __init__(self, keys: Idempotency, claim: KeyClaim, *, on_disk: bool) -> None:
        self.claim = claim
        self.on_disk = on_disk
        #: Whether the key is this attempt's; until then, nobody is to be refused because of it.
        self.held = False
        self.over: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self._keys = keys
        self._pieces: list[bytes] = []
        self._size = 0
        self._settled = False
        self._renewing = asyncio.create_task(run_forever(self._renew, _log))

    @property
    def head(self) -> bytes:
        """The first piece of the answer, or nothing."""
        return self._pieces[0] if self._pieces else b""

    def add(self, piece: bytes) -> None:
        """A piece of the answer. Too large an answer is counted and not kept."""
        self._size += len(piece)
        if self._size <= limits.MAX_KEPT_ANSWER:
            self._pieces.append(piece)
        else:
            self._pieces = self._pieces[:1]

    async def settle(self, status: int, content_type: str, object_id: str | None) -> None:
        """What was added is the answer; durable when this returns. Passing refusals are not kept."""
        if self._settled or self.over.done() or status in _PASSING or status >= 500:
            return  # or it was closed before: then there is nothing to keep
        whole = self._size <= limits.MAX_KEPT_ANSWER
        answer = Answer(status, content_type, b"".join(self._pieces), object_id) if whole else None
        await self._keys.keep(self, status, content_type, answer, object_id)
        self._settled = True
        if answer is not None:
            self.over.set_result(answer)

    async def follow(self, response_id: str) -> None:
        """The answer is the stream of this background response, whatever comes of it here."""
        self._pieces, self._size = [response_id.encode()], 0
        await self.settle(200, FOLLOW, response_id)

    async def close(self) -> None:
        """Give the key back unless there is an answer, and let those go on who wait."""
        try:
            if not self._settled:
                await self._keys.release(self.claim)
        finally:
            self.leave(None)

    def leave(self, answer: Answer | None) -> None:
        """There is nothing to give back. `answer`: what those who wait shall have; None: they look for themselves."""
        self._renewing.cancel()
        self._keys.left(self)
        if not self.over.done():
            self.over.set_result(answer)

    async def _renew(self) -> None:
        await asyncio.sleep(limits.KEY_LOCK_RENEWAL)
        await self._keys.renew(self.claim)


class Idempotency:
    """The idempotency keys of every project. `secret`: the server's, for hashes that give nothing away."""

    def __init__(self, store: KeyStore, clock: Clock, secret: bytes) -> None:
        self._store = store
        # A clock that is set forward must not have requests answered twice.
        self._clock = SteadyTime(clock)
        self._secret = secret
        self._running: dict[Name, Attempt] = {}
        self._memory: OrderedDict[Name, tuple[float, Answer]] = OrderedDict()
        self._memory_bytes = 0

    # --- requests -----------------------------------------------------------------------------------------------------
    async def enter(self, project_id: str, key: bytes, request: bytes, *, on_disk: bool) -> Attempt | Answer:
        """The answer that this request was given before, or an attempt at answering it, which must be closed.

        Waits while the first request with this key is being answered, here or on another server. `request`: its method,
        path and body. Raises `KeyReused` if the key was sent with another request, `AnswerNotKept`.
        """
        if len(request) > limits.MIB:
            fingerprint = await asyncio.to_thread(hmac.digest, self._secret, request, "sha256")
        else:
            fingerprint = hmac.digest(self._secret, request, "sha256")
        name = (project_id, key)
        while True:
            running = self._running.get(name)
            if running is not None:
                if running.held:
                    _check(running.claim.fingerprint, fingerprint)
                answer = await asyncio.shield(running.over)
                if answer is not None:
                    return answer
                continue
            attempt = self._running[name] = Attempt(
                self, KeyClaim(*name, fingerprint, secrets.token_hex(12)), on_disk=on_disk
            )
            state = await self._claim(attempt)
            if state is None:
                attempt.held = True
                return attempt
            try:
                _check(state.fingerprint, fingerprint)
                answer = self._known(name, state)
            except Conflict:
                attempt.leave(None)
                raise
            attempt.leave(answer)
            if answer is not None:
                return answer
            await asyncio.sleep(limits.KEY_TICK)

    async def _claim(self, attempt: Attempt) -> KeyState | None:
        try:
            return await self._store.claim_key(attempt.claim, now=self._clock.now(), until=self._until())
        except BaseException:
            # A write happens also when its caller is cancelled.
            await asyncio.shield(asyncio.ensure_future(attempt.close()))
            raise

    def _known(self, name: Name, state: KeyState) -> Answer | None:
        """The answer of a key that is taken; None while there is none yet."""
        if state.status is None:
            return None
        if state.body is not None:
            return Answer(state.status, state.content_type or "", state.body)
        expires, answer = self._memory.get(name, (0.0, None))
        if answer is None or expires < self._clock.now():
            raise AnswerNotKept(
                "A request with this 'Idempotency-Key' was answered before, and its answer is not kept: it was larger "
                f"than {limits.MAX_KEPT_ANSWER} bytes, it was not to be stored, or what it shows was deleted.",
                param="Idempotency-Key",
            )
        return answer

    # --- attempts -----------------------------------------------------------------------------------------------------
    async def keep(
        self, attempt: Attempt, status: int, content_type: str, answer: Answer | None, object_id: str | None
    ) -> None:
        """Keep an attempt's answer: on the disk, or in memory. None: it is too large."""
        body = answer.body if answer is not None and attempt.on_disk else None
        if answer is not None and not attempt.on_disk:
            self._remember((attempt.claim.project_id, attempt.claim.key), answer)
        await self._store.settle_key(attempt.claim, status, content_type, body, object_id)

    async def renew(self, claim: KeyClaim) -> None:
        """Go on holding a key."""
        await self._store.renew_key(claim, self._until())

    async def release(self, claim: KeyClaim) -> None:
        """Give a key back that has no answer."""
        try:
            await self._store.release_key(claim)
        except AntiphonError as error:
            _log.warning("an idempotency key stays locked for a moment", reason=error.message)

    def left(self, attempt: Attempt) -> None:
        """An attempt is over."""
        name = (attempt.claim.project_id, attempt.claim.key)
        if self._running.get(name) is attempt:
            del self._running[name]

    async def forget(self, project_id: str, object_id: str) -> None:
        """Delete the answers that show this object, because it is deleted."""
        for name, (_, answer) in list(self._memory.items()):
            if name[0] == project_id and answer.object_id == object_id:
                self._drop(name)
        await self._store.forget_answers(project_id, object_id)

    # --- memory -------------------------------------------------------------------------------------------------------
    def _remember(self, name: Name, answer: Answer) -> None:
        self._drop(name)
        self._memory[name] = (self._clock.now() + limits.IDEMPOTENCY_TTL, answer)
        self._memory_bytes += len(answer.body)
        while self._memory_bytes > limits.MAX_ANSWERS_IN_MEMORY:
            self._drop(next(iter(self._memory)))

    def _drop(self, name: Name) -> None:
        _, answer = self._memory.pop(name, (0.0, None))
        if answer is not None:
            self._memory_bytes -= len(answer.body)

    def _until(self) -> int:
        return milliseconds(self._clock.now() + limits.KEY_LOCK)

    async def sweep(self) -> None:
        """Forget old keys and their answers."""
        now = self._clock.now()
        for name, (expires, _) in list(self._memory.items()):
            if expires < now:
                self._drop(name)
        deleted = limits.SWEEP_STEP
        while deleted == limits.SWEEP_STEP:
            deleted = await self._store.sweep_keys(before=int(now) - limits.IDEMPOTENCY_TTL, limit=limits.SWEEP_STEP)


def _check(known: bytes, fingerprint: bytes) -> None:
    if not hmac.compare_digest(known, fingerprint):
        raise KeyReused(
            "This 'Idempotency-Key' was sent with another request before. Use a new key for each request; send the "
            "same method, path and body when you try one again.",
            param="Idempotency-Key",
        )
