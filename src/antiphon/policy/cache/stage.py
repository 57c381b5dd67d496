"""Answers given again: the stage that may answer in the engine's place.

It answers only where somebody has asked for it: a route's configuration, a project's rule, or the request itself. What
is kept is the answer as the engine gave it, delta by delta. So a stream is a stream again, and every surface makes its
own object of it, with new ids.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Sequence
from dataclasses import dataclass

import msgspec

from antiphon.domain import limits
from antiphon.domain.caching import OFF, CachedAnswer
from antiphon.domain.errors import AntiphonError
from antiphon.domain.route_trace import TargetName
from antiphon.policy.cache.key import Keys, cacheable
from antiphon.policy.cache.single_flight import SharedGeneration, Subscriber, as_new, joined, whole
from antiphon.policy.call import Call, GenerationContext
from antiphon.ports import CacheStore, Clock
from antiphon.protocol.generation import (
    AnswerDelta,
    CallStart,
    Delta,
    Finish,
    PassthroughDelta,
    Progress,
    RefusalDelta,
    TextDelta,
    Usage,
)
from antiphon.telemetry.logs import logger

_log = logger(__name__)
_HEADER = b"x-antiphon-cache"
_AGE = b"age"
_DECODER = msgspec.msgpack.Decoder(list[AnswerDelta])
#: An answer that ended so is whole, or as long as it was allowed to be.
_GOOD_ENDS = frozenset({"stop", "length", "tool_calls"})


@dataclass(frozen=True, slots=True)
class Terms:
    """How one generation may use the cache. `ttl` and `max_age` are in seconds."""

    ttl: int
    max_age: int
    read: bool
    allowed: bool = True


#: The rule of a project that nobody has looked up: until when it is valid, and what it says.
_UNKNOWN: tuple[float, int | None] = (0.0, None)
_BYPASS = Terms(0, 0, read=False, allowed=False)


class Cache:
    """Implements `stage.Answerer`."""

    def __init__(self, store: CacheStore, clock: Clock, server_secret: bytes) -> None:
        self._store = store
        self._clock = clock
        self._keys = Keys(server_secret)
        self._flights: dict[bytes, SharedGeneration] = {}
        self._all: set[SharedGeneration] = set()
        self._rules: dict[str, tuple[float, int | None]] = {}

    async def close(self) -> None:
        """End what is shared and still under way. What is finished is kept first."""
        await asyncio.gather(*(flight.close(limits.CLOSE_TIMEOUT * flight.finished) for flight in self._all))

    def answer(self, context: GenerationContext) -> Awaitable[AsyncGenerator[Delta, None] | None] | None:
        """A cached answer, or one that is shared with other calls; None: the engine is to be asked."""
        until, rule = self._rules.get(context.call.project_id, _UNKNOWN)
        if self._clock.monotonic() < until and _terms(context, rule) is None:
            return None
        return self._answer(context)

    async def _answer(self, context: GenerationContext) -> AsyncGenerator[Delta, None] | None:
        terms = _terms(context, await self._rule(context.call.project_id))
        if terms is None:
            return None
        if not terms.allowed or not cacheable(context.generation):
            _tell(context.call, b"bypass")
            return None
        asked = context.generation
        # An answer in the words of one surface would fit no other.
        context.generation = asked.plain()
        stream = await self._shared(context, terms)
        if stream is None:
            context.generation = asked
        return stream

    async def _shared(self, context: GenerationContext, terms: Terms) -> AsyncGenerator[Delta, None] | None:
        key = await self._keys.key(context)
        if not terms.read:
            return await self._ask(key, context, terms)
        if key not in self._flights:
            kept = await self._kept(key, context, terms)
            if kept is not None:
                return kept
        flight = self._flights.get(key)
        if flight is None or not flight.joinable:
            return await self._ask(key, context, terms)
        return await self._join(flight, context)

    # --- what is asked of it ------------------------------------------------------------------------------------------
    async def _rule(self, project_id: str) -> int | None:
        """The project's own rule, remembered for as long as keys are."""
        now = self._clock.monotonic()
        until, rule = self._rules.get(project_id, _UNKNOWN)
        if now >= until:
            if len(self._rules) >= limits.KEY_CACHE_SIZE:
                self._rules.clear()
            elif until:
                # The others go on with what was known while one looks.
                self._rules[project_id] = (now + limits.KEY_CACHE_TTL, rule)
            try:
                rule = await self._store.cache_ttl(project_id)
            except AntiphonError as error:
                _log.warning("a project's rule for the cache could not be read", reason=error.message)
                return OFF
            self._rules[project_id] = (now + limits.KEY_CACHE_TTL, rule)
        return rule

    # --- what was kept ------------------------------------------------------------------------------------------------
    async def _kept(self, key: bytes, context: GenerationContext, terms: Terms) -> AsyncGenerator[Delta, None] | None:
        now = int(self._clock.now())
        try:
            kept = await self._store.get_cached(context.call.project_id, key, now=now)
        except AntiphonError as error:
            _log.warning("the cache could not be looked at", reason=error.message)
            return None
        if kept is None or now - kept.created_at > terms.max_age:
            return None
        try:
            deltas = _DECODER.decode(kept.body)
        except msgspec.MsgspecError:
            # Another version's: it is written anew.
            return None
        context.cached = True
        context.usage = Usage()
        context.trace.target = TargetName(kept.upstream, kept.model)
        _tell(context.call, b"hit", max(0, now - kept.created_at))
        return _replay(deltas, batches=context.generation.batches)

    # --- what is made now ---------------------------------------------------------------------------------------------
    async def _join(self, flight: SharedGeneration, context: GenerationContext) -> AsyncGenerator[Delta, None]:
        """Listen to what another call has asked for; if nothing comes of that, ask alone."""
        listener = flight.listen(context)
        context.cached = True
        context.usage = Usage()
        try:
            under_way = await listener.under_way()
        except BaseException:
            await listener.aclose()
            raise
        if under_way:
            context.trace.target = flight.trace.target
            # Who has become the payer meanwhile is not given anything: it is made for him.
            _tell(context.call, b"hit" if context.cached else b"miss", 0)
            return listener
        await listener.aclose()
        context.cached = False
        context.usage = None
        _tell(context.call, b"miss")
        return await context.route.generate(context.generation, context.trace)

    async def _ask(self, key: bytes, context: GenerationContext, terms: Terms) -> Subscriber | None:
        if len(self._all) >= limits.CACHE_FLIGHTS:
            _tell(context.call, b"bypass")
            return None

        async def completed(flight: SharedGeneration) -> None:
            await self._keep(key, flight, context.call.project_id, terms)

        flight = SharedGeneration(context, completed)
        # One that does not read what others have made replaces it for those who come; both may be under way at once.
        self._flights[key] = flight
        self._all.add(flight)
        listener = flight.begin(lambda: self._forget(key, flight))
        try:
            await listener.admitted()
        except BaseException:
            await listener.aclose()
            raise
        _tell(context.call, b"miss")
        return listener

    def _forget(self, key: bytes, flight: SharedGeneration) -> None:
        self._all.discard(flight)
        if self._flights.get(key) is flight:
            del self._flights[key]

    async def _keep(self, key: bytes, flight: SharedGeneration, project_id: str, terms: Terms) -> None:
        """Keep a finished answer, if it is one that may be given again."""
        deltas = [delta for delta in flight.deltas if not isinstance(delta, Progress)]
        target = flight.trace.target
        if target is None or not _worth_keeping(deltas):
            return
        body = msgspec.msgpack.encode(deltas)
        if len(body) > limits.MAX_CACHED_ANSWER:
            return
        now = int(self._clock.now())
        answer = CachedAnswer(project_id, key, now, now + terms.ttl, target.upstream, target.model, body)
        try:
            await self._store.put_cached(answer)
        except Exception as error:  # the answer itself is whole
            reason = error.message if isinstance(error, AntiphonError) else type(error).__name__
            _log.warning("an answer could not be kept for others", reason=reason)


def _terms(context: GenerationContext, rule: int | None) -> Terms | None:
    """What holds for this generation under its project's rule; None: nobody has asked for the cache."""
    call, spec = context.call, context.route.spec
    control = call.cache_control
    wanted = control is not None and control.wanted
    if rule == OFF:
        return _BYPASS if wanted else None
    ttl = rule
    if ttl is None and spec is not None and spec.cache is not None:
        ttl = max(1, int(spec.cache.ttl))
    if control is None or not wanted:
        if ttl is None:
            return None
        # A request that is not to be stored is not cached either, unless it asks for the cache itself.
        if call.store is False:
            return _BYPASS
    max_age = None if control is None else control.max_age
    if wanted and max_age is not None:
        ttl = max_age
    ttl = ttl or limits.CACHE_TTL
    if control is not None and not control.keep:
        return _BYPASS
    read = control is None or control.read
    return Terms(ttl, ttl if max_age is None else min(max_age, ttl), read and max_age != 0)


def _worth_keeping(deltas: Sequence[Delta]) -> bool:
    """Whether it is a whole answer that says something, and neither a refusal nor one that was held back."""
    end = deltas[-1]
    if not isinstance(end, Finish) or end.reason not in _GOOD_ENDS:
        return False
    if any(isinstance(delta, RefusalDelta | PassthroughDelta) for delta in deltas):
        return False
    return any(isinstance(delta, CallStart) or (isinstance(delta, TextDelta) and delta.text) for delta in deltas)


async def _replay(deltas: Sequence[Delta], *, batches: bool) -> AsyncGenerator[Delta, None]:
    at = 0
    while at < len(deltas):
        count = whole(deltas, at)
        piece = [as_new(delta) for delta in deltas[at : at + count]]
        at += count
        if batches:
            yield joined(piece)
        else:
            for delta in piece:
                yield delta
        # Others get their turn.
        await asyncio.sleep(0)


def _tell(call: Call, what: bytes, age: int | None = None) -> None:
    """Say in the call's headers where its answer came from. Of several choices, one that was made says it for all."""
    headers = call.headers
    said = next((value for name, value in headers if name == _HEADER), None)
    if said is not None and (said != b"hit" or what == b"hit"):
        return
    headers[:] = [(name, value) for name, value in headers if name not in {_HEADER, _AGE}]
    headers.append((_HEADER, what))
    if age is not None and what == b"hit":
        headers.append((_AGE, str(age).encode()))
