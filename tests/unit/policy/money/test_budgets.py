"""The stage that keeps to budgets, against a store that is slow, or fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from antiphon.domain import limits
from antiphon.domain.budgets import Budget, Reservation, Spending
from antiphon.domain.errors import PermissionDenied, SpendLimitReached, StoreFailed, Unstorable
from antiphon.domain.route_trace import TargetName
from antiphon.domain.tenancy import Caller, Key, Project
from antiphon.engines.scripted import ScriptedEngine
from antiphon.policy.call import Call, GenerationContext
from antiphon.policy.money.budgets import BudgetCheck, expected
from antiphon.policy.money.pricing import Pricing
from antiphon.protocol.generation import Generation, ImagePart, Message, Sampling, TextPart, Usage
from antiphon.run.clock import SystemClock
from support.money import DOLLAR_A_TOKEN, PricedRoute

CALLER = Caller(Key("key_1", "proj_1", "k", b"", "", 1), Project("proj_1", "p", 1))
PRICED = PricedRoute("scripted", ScriptedEngine(), DOLLAR_A_TOKEN)
UNPRICED = PricedRoute("scripted", ScriptedEngine(), None)
DOLLAR = 10**9


class Store:
    """Budgets in memory. `gate`: what every look at them waits for."""

    def __init__(self, *budgets: Budget) -> None:
        self.budgets = list(budgets)
        self.looks = 0
        self.gate: asyncio.Event | None = None
        self.reserved: list[Reservation] = []
        self.spent: list[Spending] = []
        self.failing = 0
        self.full: str | None = None
        self.refusing = False

    async def put_budget(self, budget: Budget, now: float) -> Budget:
        return budget

    async def remove_budget(self, budget_id: str) -> bool:
        return False

    async def list_budgets(self) -> list[Budget]:
        self.looks += 1
        found = list(self.budgets)
        if self.gate is not None:
            await self.gate.wait()
        return found

    async def reserve(self, reservation: Reservation, now: float) -> str | None:
        self.reserved.append(reservation)
        if self.gate is not None:
            await self.gate.wait()
        return self.full

    async def spend(self, spending: Spending, now: float) -> list[Budget]:
        if self.refusing:
            raise Unstorable("poison")
        if self.failing:
            self.failing -= 1
            raise StoreFailed("down")
        self.spent.append(spending)
        return []

    async def renew_reservations(self, owner: str, until: int) -> None:
        return

    async def settle_lapsed(self, now: float, limit: int) -> int:
        return 0


def budget(name: str = "b", *, hard: bool = True, allow_unknown: bool = False, scope: str = "project") -> Budget:
    subject = {"project": "proj_1", "key": "key_1", "organization": ""}[scope]
    return Budget(name, scope, subject, "month", 10 * DOLLAR, hard, allow_unknown, 1)  # type: ignore[arg-type]


def context(route: PricedRoute = PRICED, tokens: int | None = 4) -> GenerationContext:
    call = Call(CALLER, "/v1/responses", "req", 1.0, model="scripted")
    made = GenerationContext(call, route, Generation("scripted", (), sampling=Sampling(max_tokens=tokens)))
    made.trace.target = TargetName(route.spec.targets[0].upstream, "scripted")  # type: ignore[union-attr]
    call.generations.append(made)
    return made


async def entered(stage: BudgetCheck, context: GenerationContext) -> None:
    """Enter the stage, at once or after a wait."""
    waiting = stage.enter(context)
    if waiting is not None:
        await waiting


def asking(*turns: Message, tokens: int | None = None) -> GenerationContext:
    call = Call(CALLER, "/v1/responses", "req", 1.0, model="scripted")
    return GenerationContext(call, PRICED, Generation("m", turns, sampling=Sampling(max_tokens=tokens)))


def run(store: Store, test: Callable[[BudgetCheck], Awaitable[None]]) -> None:
    async def main() -> None:
        stage = BudgetCheck(store, Pricing(), SystemClock())
        await test(stage)
        await stage.stop()

    asyncio.run(main())


def test_without_budgets_the_database_is_asked_once_for_all_calls() -> None:
    store = Store()

    async def test(stage: BudgetCheck) -> None:
        for _ in range(100):
            made = context()
            await entered(stage, made)
            stage.leave(made)

    run(store, test)
    assert (store.looks, store.reserved, store.spent) == (1, [], [])


def test_nobody_goes_by_what_was_known_before_a_change() -> None:
    store = Store()

    async def test(stage: BudgetCheck) -> None:
        await entered(stage, context())
        store.budgets.append(budget())
        stage.changed()
        store.gate = asyncio.Event()
        calls = [asyncio.create_task(entered(stage, context())) for _ in range(10)]
        await asyncio.sleep(0)
        store.gate.set()
        await asyncio.gather(*calls)

    run(store, test)
    assert len(store.reserved) == 10


def test_a_look_that_was_overtaken_by_a_change_is_not_the_last() -> None:
    store = Store()

    async def test(stage: BudgetCheck) -> None:
        store.gate = asyncio.Event()
        first = asyncio.create_task(entered(stage, context()))
        await asyncio.sleep(0)
        store.budgets.append(budget())
        stage.changed()
        store.gate.set()
        await first
        await entered(stage, context())

    run(store, test)
    assert len(store.reserved) == 1


def test_what_is_reserved_is_settled_with_what_it_cost() -> None:
    store = Store(budget(), budget("k", scope="key"), budget("a", hard=False, scope="organization"))

    async def test(stage: BudgetCheck) -> None:
        made = context()
        await entered(stage, made)
        made.usage = Usage(output_tokens=3)
        stage.leave(made)
        nothing = context(tokens=None)
        await entered(stage, nothing)
        stage.leave(nothing)

    run(store, test)
    assert [(sorted(one.budgets), one.amount) for one in store.reserved] == [
        (["a", "b", "k"], 4 * DOLLAR),
        (["a", "b", "k"], limits.BUDGET_OUTPUT_TOKENS * DOLLAR),
    ]
    assert [(one.amount, one.reservation) for one in store.spent] == [
        (3 * DOLLAR, store.reserved[0].id),
        (0, store.reserved[1].id),
    ]


def test_a_price_that_breaks_leaves_nothing_reserved(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(budget())

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    async def test(stage: BudgetCheck) -> None:
        made = context()
        await entered(stage, made)
        made.usage = Usage(output_tokens=3)
        monkeypatch.setattr(Pricing, "price", broken)
        stage.leave(made)

    run(store, test)
    assert store.spent == [Spending((), 4 * DOLLAR, store.reserved[0].id)]


def test_a_settlement_that_no_database_takes_is_given_up() -> None:
    store = Store(budget())
    store.refusing = True

    async def test(stage: BudgetCheck) -> None:
        made = context()
        await entered(stage, made)
        stage.leave(made)

    run(store, test)
    assert store.spent == []


@pytest.mark.parametrize("tokens", [10**15, 10**30])
def test_no_number_of_tokens_is_too_large_to_be_refused(tokens: int) -> None:
    store = Store(budget())
    store.full = "b"

    async def test(stage: BudgetCheck) -> None:
        with pytest.raises(SpendLimitReached):
            await entered(stage, context(tokens=tokens))

    run(store, test)
    assert store.reserved[0].amount == limits.MAX_COST


def test_only_what_is_made_in_the_background_is_taken_over() -> None:
    store = Store(budget())

    async def test(stage: BudgetCheck) -> None:
        for background in (False, True):
            made = context()
            made.call.background, made.call.object_id = background, "resp_1"
            await entered(stage, made)

    run(store, test)
    assert [one.object_id for one in store.reserved] == [None, "resp_1"]


def test_a_settlement_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LEDGER_RETRY", 0.001)
    store = Store(budget("a", hard=False))
    store.failing = 3

    async def test(stage: BudgetCheck) -> None:
        made = context()
        await entered(stage, made)
        made.usage = Usage(output_tokens=3)
        stage.leave(made)
        while not store.spent:  # noqa: ASYNC110  (nothing tells)
            await asyncio.sleep(0.001)

    run(store, test)
    assert store.spent == [Spending(("a",), 3 * DOLLAR)]


def test_who_hangs_up_while_money_is_reserved_leaves_none_of_it_behind() -> None:
    store = Store(budget())

    async def test(stage: BudgetCheck) -> None:
        await entered(stage, context())
        store.gate = asyncio.Event()
        waiting = asyncio.create_task(entered(stage, context()))
        while len(store.reserved) < 2:  # noqa: ASYNC110  (nothing tells)
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    run(store, test)
    assert store.spent == [Spending((), 0, store.reserved[1].id)]


@pytest.mark.parametrize("scope", ["key", "project", "organization"])
def test_whose_limit_it_was_is_said(scope: str) -> None:
    store = Store(budget(scope=scope))
    store.full = "b"

    async def test(stage: BudgetCheck) -> None:
        made = context()
        with pytest.raises(SpendLimitReached) as refused:
            await entered(stage, made)
        assert refused.value.code == f"{scope}_spend_limit_exceeded"
        assert (b"x-should-retry", b"false") in made.call.headers

    run(store, test)
    assert store.spent == []


def test_an_unknown_price_is_refused_unless_every_hard_budget_allows_it() -> None:
    async def refused(stage: BudgetCheck) -> None:
        with pytest.raises(PermissionDenied) as error:
            await entered(stage, context(UNPRICED))
        assert error.value.code == "price_unknown"

    run(Store(budget(), budget("k", scope="key", allow_unknown=True)), refused)

    async def allowed(stage: BudgetCheck) -> None:
        made = context(UNPRICED)
        await entered(stage, made)
        stage.leave(made)

    store = Store(budget(allow_unknown=True))
    run(store, allowed)
    assert [one.amount for one in store.reserved] == [0]
    alerted = Store(budget(hard=False))
    run(alerted, allowed)
    assert alerted.spent == []


def test_what_costs_nothing_needs_no_money() -> None:
    store = Store(budget())

    async def test(stage: BudgetCheck) -> None:
        made = context(tokens=0)
        await entered(stage, made)
        stage.leave(made)

    run(store, test)
    assert store.reserved == store.spent == []


def test_what_is_not_text_is_expected_to_cost_something() -> None:
    text = asking(Message("user", (TextPart("x" * 400),)), tokens=7)
    image = asking(Message("user", (TextPart("x" * 400), ImagePart("data:"))))
    assert expected(text).output_tokens == 7
    assert expected(text).input_tokens == pytest.approx(100, abs=10)
    assert expected(image).input_tokens - expected(text).input_tokens == limits.BUDGET_PART_TOKENS
