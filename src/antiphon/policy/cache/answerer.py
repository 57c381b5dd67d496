"""Cached answers: the answerer of the pipeline.

It answers only where it is turned on: by a route's configuration, a project's rule, or the request itself. Requests are
compared as the request transforms have left them. What is kept is the answer as the engine gave it, delta by delta,
before any stream filter. So a stream is a stream again, and every surface makes its own object of it, with new ids.
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
    """How one generation may use the cache. `ttl` and `max_age` are in seconds. `allowed`: whether at all."""

    ttl: int
    max_age: int
    read: bool
    allowed: bool = True


#: The rule of a project that nobody has looked up: until when it is valid, and what it says.
_UNKNOWN: tuple[float, int | None] = (0.0, None)
_BYPASS = Terms(0, 0, read=False, allowed=False)


class Cache:
    """Answers from the store, or from a generation that an equal call has under way."""

    def __init__(self, store: CacheStore, clock: Clock, server_secret: bytes) -> None:
        self._store = store
        self._clock = clock
        self._keys = Keys(server_secret)
        self._under_way: dict[bytes, SharedGeneration] = {}
        self._all: set[SharedGeneration] = set()
        self._rules: dict[str, tuple[float, int | None]] = {}

    async def close(self) -> None:
        """End shared generations that are still under way. Those that are complete are stored first."""
        await asyncio.gather(*(shared.close(limits.CLOSE_TIMEOUT * shared.finished) for shared in self._all))

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
            _set_headers(context.call, b"bypass")
            return None
        asked = context.generation
        # An answer in the words of one surface would fit no other.
        context.generation = asked.plain()
        stream = await self._find_or_share(context, terms)
        if stream is None:
            context.generation = asked
        return stream

    async def _find_or_share(self, context: GenerationContext, terms: Terms) -> AsyncGenerator[Delta, None] | None:
        key = await self._keys.key(context)
        if not terms.read:
            return await self._ask(key, context, terms)
        if key not in self._under_way:
            cached = await self._cached(key, context, terms)
            if cached is not None:
                return cached
        shared = self._under_way.get(key)
        if shared is None or not shared.joinable:
            return await self._ask(key, context, terms)
        return await self._join(shared, context)

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

    # --- what is in the store -----------------------------------------------------------------------------------------
    async def _cached(self, key: bytes, context: GenerationContext, terms: Terms) -> AsyncGenerator[Delta, None] | None:
        now = int(self._clock.now())
        try:
            cached = await self._store.get_cached(context.call.project_id, key, now=now)
        except AntiphonError as error:
            _log.warning("the cache could not be looked at", reason=error.message)
            return None
        if cached is None or now - cached.created_at > terms.max_age:
            return None
        try:
            deltas = _DECODER.decode(cached.body)
        except msgspec.MsgspecError:
            # Another version's: it is written anew.
            return None
        context.cached = True
        context.usage = Usage()
        context.trace.target = TargetName(cached.upstream, cached.model)
        _set_headers(context.call, b"hit", max(0, now - cached.created_at))
        return _replay(deltas, batches=context.generation.batches)

    # --- what is made now ---------------------------------------------------------------------------------------------
    async def _join(self, shared: SharedGeneration, context: GenerationContext) -> AsyncGenerator[Delta, None]:
        """Subscribe to the generation of another call; if that gives no answer, ask the engine alone."""
        subscriber = shared.subscribe(context)
        context.cached = True
        context.usage = Usage()
        try:
            under_way = await subscriber.under_way()
        except BaseException:
            await subscriber.aclose()
            raise
        if under_way:
            context.trace.target = shared.trace.target
            # A call that has become the payer meanwhile is given nothing: the answer is made for it.
            _set_headers(context.call, b"hit" if context.cached else b"miss", 0)
            return subscriber
        await subscriber.aclose()
        context.cached = False
        context.usage = None
        _set_headers(context.call, b"miss")
        return await context.route.generate(context.generation, context.trace)

    async def _ask(self, key: bytes, context: GenerationContext, terms: Terms) -> Subscriber | None:
        if len(self._all) >= limits.CACHE_SHARED:
            _set_headers(context.call, b"bypass")
            return None

        async def completed(shared: SharedGeneration) -> None:
            await self._put(key, shared, context.call.project_id, terms)

        shared = SharedGeneration(context, completed)
        # One that does not read what others have made replaces it for those who come; both may be under way at once.
        self._under_way[key] = shared
        self._all.add(shared)
        subscriber = shared.begin(lambda: self._forget(key, shared))
        try:
            await subscriber.admitted()
        except BaseException:
            await subscriber.aclose()
            raise
        _set_headers(context.call, b"miss")
        return subscriber

    def _forget(self, key: bytes, shared: SharedGeneration) -> None:
        self._all.discard(shared)
        if self._under_way.get(key) is shared:
            del self._under_way[key]

    async def _put(self, key: bytes, shared: SharedGeneration, project_id: str, terms: Terms) -> None:
        """Store a complete answer, if it is one that may be given again."""
        deltas = [delta for delta in shared.deltas if not isinstance(delta, Progress)]
        target = shared.trace.target
        if target is None or not _cacheable_answer(deltas):
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


def _cacheable_answer(deltas: Sequence[Delta]) -> bool:
    """Whether it is a complete answer with text or calls, and neither a refusal nor cut by a content filter."""
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


def _set_headers(call: Call, what: bytes, age: int | None = None) -> None:
    """Set the headers that say where the answer came from. Of several choices, one that was generated decides."""
    headers = call.headers
    known = next((value for name, value in headers if name == _HEADER), None)
    if known is not None and (known != b"hit" or what == b"hit"):
        return
    headers[:] = [(name, value) for name, value in headers if name not in {_HEADER, _AGE}]
    headers.append((_HEADER, what))
    if age is not None and what == b"hit":
        headers.append((_AGE, str(age).encode()))
