"""The ledger's writer: what it does when the database does not take its entries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import msgspec
import pytest

from antiphon.domain import limits
from antiphon.domain.errors import StoreFailed, Unstorable
from antiphon.domain.ledger import Asked, Entry, Sum
from antiphon.domain.route_trace import Attempt, TargetName
from antiphon.domain.tenancy import Caller, Key, Project
from antiphon.engines.scripted import ScriptedEngine
from antiphon.policy.call import Call, GenerationContext
from antiphon.policy.ledger import Ledger
from antiphon.policy.money.pricing import Pricing
from antiphon.protocol.generation import Generation, Usage
from antiphon.run.clock import SystemClock
from support.money import PricedRoute

CALLER = Caller(Key("key_1", "proj_1", "k", b"", "", 1), Project("proj_1", "p", 1))
ROUTE = PricedRoute("scripted", ScriptedEngine(), None)


class Store:
    """Keeps entries, unless it is told to fail."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.writes = 0
        self.failing: Exception | None = None
        #: Input tokens of entries that are never taken.
        self.poison: set[int] = set()
        self.tried = asyncio.Event()
        #: Before which times entries were to be deleted.
        self.swept: list[int] = []

    async def add_entries(self, entries: Sequence[Entry]) -> None:
        self.writes += 1
        self.tried.set()
        if self.failing is not None:
            raise self.failing
        if any(entry.input_tokens in self.poison for entry in entries):
            raise Unstorable("poison")
        self.entries += entries

    async def tries(self, count: int) -> None:
        """Wait until so many more writes were tried."""
        for _ in range(count):
            self.tried.clear()
            await self.tried.wait()

    async def find_entries(self, name: str) -> list[Entry]:
        return []

    async def usage(self, asked: Asked) -> list[Sum]:
        return []

    async def sweep_entries(self, *, before: int, limit: int) -> int:
        self.swept.append(before)
        return 0


def call(*generations: Usage | None, status: int = 200) -> Call:
    made = Call(CALLER, "/v1/responses", "req_1", 1_700_000_000.5, model="m")
    made.status = status
    for usage in generations:
        context = GenerationContext(made, ROUTE, Generation("m", ()))
        context.usage = usage
        context.finished = usage is not None
        made.generations.append(context)
    return made


def ledger(store: Store) -> Ledger:
    return Ledger(store, Pricing(), SystemClock())


def test_a_failed_write_is_tried_again_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LEDGER_RETRY", 0.01)

    async def main() -> None:
        store = Store()
        store.failing = StoreFailed("down")
        writer = ledger(store)
        await writer.start()
        for _ in range(3):
            writer.call_ended(call(Usage(1)))
        await store.tries(3)
        store.failing = RuntimeError("and not even politely")
        await store.tries(2)
        writer.call_ended(call(Usage(2)))
        store.failing = None
        await store.tries(1)
        await writer.stop()
        assert [entry.input_tokens for entry in store.entries] == [1, 1, 1, 2]
        assert len({entry.id for entry in store.entries}) == 4

    asyncio.run(main())


def test_an_entry_that_no_database_takes_harms_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LEDGER_RETRY", 0.01)

    async def main() -> None:
        store = Store()
        store.poison = {2, 5}
        writer = ledger(store)
        await writer.start()
        for number in range(7):
            writer.call_ended(call(Usage(number)))
        while len(store.entries) < 5:  # noqa: ASYNC110  (nothing tells)
            await asyncio.sleep(0.001)
        await writer.stop()
        assert [entry.input_tokens for entry in store.entries] == [0, 1, 3, 4, 6]

    asyncio.run(main())


def test_an_entry_has_no_text_and_no_number_that_a_database_cannot_hold() -> None:
    async def main() -> None:
        store = Store()
        writer = ledger(store)
        made = call(Usage(2**70, 2**71, 2**72, 2**73))
        made.note_request("x" * 20_000_000, {"service_tier": "a\x00"})
        made.object_id, made.request_id = "chatcmpl\x00", "r" * 10_000
        made.generations[0].trace.target = TargetName("up", "m\ud800" + "m" * 10_000)
        made.generations[0].tier = "\x00"
        writer.call_ended(made)
        refused = call(status=404)
        refused.note_request("a\x00b", {})
        writer.call_ended(refused)
        await writer.stop()
        [entry] = store.entries
        assert (entry.model, entry.object_id, entry.service_tier) == (None, None, "default")
        assert (entry.input_tokens, entry.cached_tokens) == (limits.MAX_TOKENS, limits.MAX_TOKENS)
        texts = [value for value in msgspec.structs.astuple(entry) if isinstance(value, str)]
        assert all(text.isprintable() and len(text) <= limits.MAX_TARGETS_TEXT for text in texts)

    asyncio.run(main())


def test_what_waits_is_written_at_the_end() -> None:
    async def main() -> None:
        store = Store()
        writer = ledger(store)
        await writer.start()
        for _ in range(limits.LEDGER_BATCH * 2 + 1):
            writer.call_ended(call(Usage(1)))
        await writer.stop()
        assert (len(store.entries), store.writes) == (limits.LEDGER_BATCH * 2 + 1, 3)

    asyncio.run(main())


def test_the_queue_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LEDGER_QUEUE", 5)

    async def main() -> None:
        store = Store()
        writer = ledger(store)
        for _ in range(9):
            writer.call_ended(call(Usage(1)))
        await writer.stop()
        assert len(store.entries) == 5

    asyncio.run(main())


def test_an_entry_says_what_happened_on_the_way() -> None:
    async def main() -> None:
        store = Store()
        writer = ledger(store)
        made = call(Usage(10, 1, 5, 2), Usage(20, 0, 7, 0, estimated=True))
        first, second = made.generations
        one, two = TargetName("a", "m1"), TargetName("b", "m2")
        first.trace.attempts += [Attempt(one, "upstream_error", 3), Attempt(two, None, 5)]
        first.trace.target, first.trace.fallback = two, True
        second.trace.attempts.append(Attempt(two, None, 5))
        second.trace.target = two
        first.first_at = made.began + 0.25
        writer.call_ended(made)
        await writer.stop()
        [entry] = store.entries
        assert (entry.attempts, entry.targets, entry.served, entry.fallback) == (3, "a/m1,b/m2", "m2", 1)
        assert (entry.input_tokens, entry.cached_tokens, entry.output_tokens, entry.estimated) == (30, 1, 12, 1)
        assert (entry.at, entry.first_ms, entry.route) == (1_700_000_000_500, 250, "scripted")
        assert (entry.cost, entry.saved, entry.error) == (None, 0, None)

    asyncio.run(main())


def test_a_kept_answer_costs_nothing_and_says_what_it_saved() -> None:
    from support.money import DOLLAR_A_TOKEN

    async def main() -> None:
        store = Store()
        writer = ledger(store)
        made = call(Usage())
        [context] = made.generations
        context.route = PricedRoute("scripted", ScriptedEngine(), DOLLAR_A_TOKEN)
        context.cached, context.saved_usage = True, Usage(10, 0, 3)
        writer.call_ended(made)
        await writer.stop()
        [entry] = store.entries
        assert (entry.cost, entry.saved, entry.kept, entry.attempts) == (0, 3 * 10**9, 1, 0)

    asyncio.run(main())


def test_an_entry_is_cheap() -> None:
    async def main() -> None:
        writer = ledger(Store())
        made = call(Usage(10, 1, 5, 2))
        writer.call_ended(made)
        began = time.perf_counter()
        for _ in range(1000):
            writer.call_ended(made)
        assert (time.perf_counter() - began) / 1000 < 200e-6  # it takes some 10: this fails only if it waits

    asyncio.run(main())


def test_a_clock_that_is_set_forward_deletes_no_entries() -> None:
    class Wall(SystemClock):
        wrong = 0.0

        def now(self) -> float:
            return 1_700_000_000.0 + self.wrong

        def monotonic(self) -> float:
            return 1000.0

    async def main() -> None:
        store, wall = Store(), Wall()
        ledger = Ledger(store, Pricing({}), wall, days=30)
        await ledger.sweep()
        wall.wrong = 90 * 86_400.0
        await ledger.sweep()
        assert store.swept == [1_700_000_000 - 30 * 86_400] * 2

    asyncio.run(main())
