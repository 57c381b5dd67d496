"""Writes one entry into the ledger for every call that asked a model for something.

Entries wait in memory for a moment and are written together, beside the calls and not in their way.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from itertools import islice

from antiphon.domain import amounts, limits
from antiphon.domain.durations import milliseconds
from antiphon.domain.errors import AntiphonError, Unstorable
from antiphon.domain.ids import new_id
from antiphon.domain.ledger import Entry
from antiphon.domain.texts import label, shortened
from antiphon.jobs.steady import SteadyTime
from antiphon.policy.call import Call, GenerationContext
from antiphon.policy.money import costs
from antiphon.policy.money.pricing import Pricing
from antiphon.ports import Clock, LedgerStore
from antiphon.telemetry.logs import logger

_log = logger(__name__)
_DAY = 86_400


class Ledger:
    """Makes an entry of every call that is over, and writes entries in batches."""

    def __init__(self, store: LedgerStore, pricing: Pricing, clock: Clock, *, days: int = limits.LEDGER_DAYS) -> None:
        """`days`: how long entries are kept."""
        self._store = store
        self._pricing = pricing
        self._time = SteadyTime(clock)
        self._days = days
        self._waiting: deque[Entry] = deque()
        self._some = asyncio.Event()
        self._enough = asyncio.Event()
        self._lost = 0
        self._tasks: list[asyncio.Task[None]] = []

    def call_ended(self, call: Call) -> None:
        """Note a call that is over. What asked no model for anything has no entry."""
        if not call.generations and not (call.model is not None and call.status >= 400):
            return
        if len(self._waiting) >= limits.LEDGER_QUEUE:
            self._lost += 1
            return
        self._waiting.append(self._entry(call))
        self._some.set()
        if len(self._waiting) >= limits.LEDGER_BATCH:
            self._enough.set()

    async def start(self) -> None:
        """Begin to write."""
        self._tasks = [asyncio.create_task(self._write_on())]

    async def stop(self) -> None:
        """Write what waits, within `limits.CLOSE_TIMEOUT`."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.CLOSE_TIMEOUT):
                while self._waiting and await self._write():
                    pass
        self._lost += len(self._waiting)
        self._waiting.clear()
        self._tell_lost()

    # --- writing ------------------------------------------------------------------------------------------------------
    async def _write_on(self) -> None:
        while True:
            await self._some.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limits.LEDGER_FLUSH):
                    await self._enough.wait()
            self._enough.clear()
            self._tell_lost()
            if not await self._write():
                await asyncio.sleep(limits.LEDGER_RETRY)
            if not self._waiting:
                self._some.clear()

    async def _write(self) -> bool:
        """Write one batch. Its entries wait until that is done, so none is lost if it is not."""
        batch = list(islice(self._waiting, limits.LEDGER_BATCH))
        try:
            await self._store.add_entries(batch)
        except Unstorable:
            return await self._write_one_by_one(batch)
        except AntiphonError as error:
            _log.warning("the ledger could not be written; trying again", entries=len(batch), reason=error.message)
            return False
        except Exception as error:
            _log.error("the ledger could not be written; trying again", entries=len(batch), exc_info=error)
            return False
        for _ in batch:
            self._waiting.popleft()
        return True

    async def _write_one_by_one(self, batch: list[Entry]) -> bool:
        """Some entry of a batch is one that the database will never take: it goes, and no other one with it."""
        for entry in batch:
            try:
                await self._store.add_entries([entry])
            except Unstorable as error:
                _log.error("an entry of the ledger was dropped", entry=entry.id, reason=error.message)
            except Exception as error:
                reason = error.message if isinstance(error, AntiphonError) else type(error).__name__
                _log.warning("the ledger could not be written; trying again", entries=1, reason=reason)
                return False
            self._waiting.popleft()
        return True

    def _tell_lost(self) -> None:
        if self._lost:
            _log.error("entries of the ledger were lost", entries=self._lost)
            self._lost = 0

    async def sweep(self) -> None:
        """Delete entries that are too old, by a clock that can be believed: what is deleted is gone."""
        before = int(self._time.now()) - self._days * _DAY
        deleted = limits.SWEEP_STEP
        while deleted == limits.SWEEP_STEP:
            deleted = await self._store.sweep_entries(before=before, limit=limits.SWEEP_STEP)

    # --- the entry ----------------------------------------------------------------------------------------------------
    def _entry(self, call: Call) -> Entry:
        generations = call.generations
        cost = costs.of_call(self._pricing, call)
        usage, estimated = costs.total(generations)
        last = generations[-1] if generations else None
        target = last.trace.target if last is not None else None
        first = next((context.first_at for context in generations if context.first_at is not None), None)
        attempts, tried = _attempts(call)
        key = call.caller.key
        return Entry(
            id=new_id("call_"),
            at=milliseconds(call.began_at),
            project_id=call.caller.project.id,
            key_id=key.id,
            user_id=key.user_id,
            endpoint=call.endpoint,
            model=label(call.model),
            served=None if target is None else shortened(target.model, limits.MAX_LABEL),
            route=None if last is None else shortened(last.route.name, limits.MAX_LABEL),
            targets=shortened(tried, limits.MAX_TARGETS_TEXT),
            attempts=amounts.count(attempts),
            fallback=int(any(context.trace.fallback for context in generations)),
            kept=int(any(context.cached for context in generations)),
            status=call.status,
            error=_error(call, last),
            input_tokens=usage.input_tokens,
            cached_tokens=usage.cached_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            output_tokens=usage.output_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            input_audio_tokens=usage.input_audio_tokens,
            output_audio_tokens=usage.output_audio_tokens,
            estimated=int(estimated),
            cost=cost.nano,
            saved=cost.saved,
            price_version=shortened(cost.version, limits.MAX_LABEL),
            batch=int(call.batch),
            service_tier=label(call.service_tier if last is None else last.tier, limits.MAX_TIER) or "default",
            streamed=int(call.streamed),
            background=int(call.background),
            first_ms=None if first is None else milliseconds(first - call.began),
            total_ms=milliseconds(call.ended - call.began),
            object_id=label(call.object_id),
            request_id=shortened(call.request_id, limits.MAX_LABEL),
        )


def _attempts(call: Call) -> tuple[int, str]:
    """How often a target was tried, and which ones. A route with one engine behind it notes no attempts."""
    count = call.refused_generations.attempts
    targets = dict.fromkeys(map(str, call.refused_generations.tries))
    for context in call.generations:
        trace = context.trace
        for attempt in trace.attempts:
            targets[str(attempt.target)] = None
        if trace.target is not None:
            targets[str(trace.target)] = None
        count += len(trace.attempts) or int(trace.target is not None)
    return count, ",".join(targets)


def _error(call: Call, last: GenerationContext | None) -> str | None:
    if call.error is not None:
        return call.error
    if last is not None and last.error is not None and not last.finished:
        return last.error
    if call.status < 400:
        return None
    codes = [context.error for context in call.generations if context.error is not None]
    return codes[-1] if codes else "refused"
