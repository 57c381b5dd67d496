"""Keeps to budgets: money is reserved before a generation and settled after it.

Who has no budget pays nothing for this: the budgets are known in memory, and the database is asked only for calls that
one of them is about, and that cost something.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass

from antiphon.domain import amounts, limits, money
from antiphon.domain.budgets import ORGANIZATION, Budget, Reservation, Spending, window
from antiphon.domain.durations import milliseconds
from antiphon.domain.errors import AntiphonError, PermissionDenied, SpendLimitReached, Unstorable
from antiphon.domain.ids import new_id
from antiphon.domain.tenancy import Caller
from antiphon.policy.call import GenerationContext
from antiphon.policy.money import costs
from antiphon.policy.money.pricing import Pricing
from antiphon.policy.pipeline.stages import AdmissionCheck
from antiphon.ports import BudgetStore, Clock
from antiphon.protocol.generation import Usage
from antiphon.protocol.outputs import limited
from antiphon.telemetry.logs import logger

_log = logger(__name__)
ALERT = b"x-antiphon-budget-alert"


@dataclass(frozen=True, slots=True)
class _Held:
    """What is held for a generation: a reservation (None: no hard budget applies), and its alerts."""

    reservation: Reservation | None
    alerts: tuple[str, ...]


class BudgetCheck(AdmissionCheck):
    """Refuses what would go over a hard budget."""

    def __init__(self, store: BudgetStore, pricing: Pricing, clock: Clock) -> None:
        self._store = store
        self._pricing = pricing
        self._clock = clock
        self._owner = new_id("server_")
        self._known: dict[tuple[str, str], list[Budget]] = {}
        self._known_until = 0.0
        self._changes = 0
        self._loading = asyncio.Lock()
        self._held: dict[int, _Held] = {}
        self._settling: set[asyncio.Task[None]] = set()
        self._stopping = False

    # --- the stage ----------------------------------------------------------------------------------------------------
    def enter(self, context: GenerationContext) -> Awaitable[None] | None:
        """Reserve what it may come to cost.

        Raises `SpendLimitReached`, and `PermissionDenied` (code "price_unknown").
        """
        if not self._known and self._clock.monotonic() < self._known_until:
            return None
        return self._enter(context)

    async def _enter(self, context: GenerationContext) -> None:
        budgets = await self._applicable(context.call.caller)
        if not budgets:
            return
        if not context.call.alerted:
            context.call.alerted = True
            self._tell(context, budgets)
        hard = [budget for budget in budgets if budget.hard]
        alerts = tuple(budget.id for budget in budgets if not budget.hard)
        reservation = await self._reserve(context, hard, alerts) if hard else None
        self._held[id(context)] = _Held(reservation, alerts)

    def leave(self, context: GenerationContext) -> None:
        """Settle with what it did cost."""
        held = self._held.pop(id(context), None)
        if held is None:
            return
        try:
            cost = costs.of_generation(self._pricing, context)
        except Exception as error:  # whatever a list of prices trips over: what is reserved must not stay so for ever
            _log.error("what a call cost could not be reckoned", error=type(error).__name__, exc_info=error)
            cost = None
        if held.reservation is not None:
            # A price that was known before and is not now: what was reserved is the best guess.
            nano = held.reservation.amount if cost is None else cost.nano
            self._settle_soon(Spending((), nano, held.reservation.id))
        elif cost is not None and cost.nano:
            self._settle_soon(Spending(held.alerts, cost.nano))

    def _settle_soon(self, spending: Spending) -> None:
        task = asyncio.get_running_loop().create_task(self._settle(spending))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _reserve(
        self, context: GenerationContext, hard: list[Budget], alerts: tuple[str, ...]
    ) -> Reservation | None:
        call, spec = context.call, context.route.spec
        model = call.model or context.generation.model
        guess = expected(context)
        amount = self._pricing.most(spec, model, guess, tier=call.service_tier, batch=call.batch)
        if amount is None and not all(budget.allow_unknown for budget in hard):
            call.set_header(b"x-should-retry", b"false")
            raise PermissionDenied(
                f"The price of the model '{model[:100]}' is not known, and a spend limit applies to this call. Set a "
                "price for the route's targets, or let the budget allow unknown prices.",
                code="price_unknown",
            )
        if amount == 0:
            return None  # what costs nothing needs no money
        if amount and context.generation.sampling.max_tokens is None:
            # No more may come than what money is reserved for.
            context.generation = limited(context.generation, limits.BUDGET_OUTPUT_TOKENS)
        now = self._clock.now()
        reservation = Reservation(
            id=new_id("res_"),
            owner=self._owner,
            budgets=(*(budget.id for budget in hard), *alerts),
            amount=amounts.cost(amount or 0),
            until=milliseconds(now + limits.RESERVATION_LEASE),
            # Only what is made in the background is gone on with after a crash.
            object_id=call.object_id if call.background else None,
        )
        try:
            full = await self._store.reserve(reservation, now)
        except BaseException:
            # The write may have been done, or be done yet, for a call that will not be made.
            self._settle_soon(Spending((), 0, reservation.id))
            raise
        if full is not None:
            call.set_header(b"x-should-retry", b"false")
            raise _reached(next(budget for budget in hard if budget.id == full))
        return reservation

    async def _settle(self, spending: Spending) -> None:
        """Settle, however often it takes. If the server ends before, the reservation lapses and counts as spent."""
        while True:
            try:
                reached = await self._store.spend(spending, self._clock.now())
                break
            except Unstorable as error:
                _log.error("what a call cost cannot be settled", reason=error.message)
                return
            except Exception as error:
                reason = error.message if isinstance(error, AntiphonError) else type(error).__name__
                if self._stopping:
                    _log.error("what a call cost was not settled", reason=reason)
                    return
                _log.warning("what a call cost is not settled yet", reason=reason)
                await asyncio.sleep(limits.LEDGER_RETRY)
        for budget in reached:
            _log.warning(
                "a spend limit is reached" if budget.hard else "a spend alert is reached",
                scope=budget.scope,
                subject=budget.subject or None,
                period=budget.period,
                dollars=money.to_dollars(budget.amount),
                spent=money.to_dollars(budget.spent),
                budget=budget.id,
            )
            self.changed()

    def _tell(self, context: GenerationContext, budgets: list[Budget]) -> None:
        """An alert that is reached stands on every answer until its window ends."""
        now = self._clock.now()
        for budget in budgets:
            if not budget.hard and budget.alerted >= window(budget.period, now):
                text = f"{budget.scope}; {budget.period}; amount={money.to_dollars(budget.amount)}"
                context.call.headers.append((ALERT, text.encode()))

    # --- what is known ------------------------------------------------------------------------------------------------
    def changed(self) -> None:
        """A budget was changed here: look again before the next call."""
        self._known_until = 0.0
        self._changes += 1

    async def _applicable(self, caller: Caller) -> list[Budget]:
        if self._clock.monotonic() >= self._known_until:
            await self._load()
        known = self._known
        if not known:
            return []
        return [
            *known.get(("key", caller.key.id), ()),
            *known.get(("project", caller.project.id), ()),
            *known.get(("organization", ORGANIZATION), ()),
        ]

    async def _load(self) -> None:
        async with self._loading:
            if self._clock.monotonic() < self._known_until:
                return
            changes = self._changes
            budgets = await self._store.list_budgets()
            known: dict[tuple[str, str], list[Budget]] = {}
            for budget in budgets:
                known.setdefault((budget.scope, budget.subject), []).append(budget)
            self._known = known
            # Only now: a call that comes while this looks must not go by what was known before.
            if changes == self._changes:
                self._known_until = self._clock.monotonic() + limits.BUDGET_CACHE_TTL

    # --- its life -----------------------------------------------------------------------------------------------------
    async def start(self) -> None:
        """Nothing: what there is to do is a sweep."""

    async def stop(self) -> None:
        """Settle what is over, within `limits.CLOSE_TIMEOUT`."""
        self._stopping = True
        if self._settling:
            _, late = await asyncio.wait(self._settling, timeout=limits.CLOSE_TIMEOUT)
            for task in late:
                task.cancel()

    async def sweep(self) -> None:
        """Renew what is reserved here, and settle what servers had reserved that crashed."""
        await self._load()
        if not self._known and not self._held:
            return
        now = self._clock.now()
        if self._held or self._settling:
            await self._store.renew_reservations(self._owner, milliseconds(now + limits.RESERVATION_LEASE))
        while await self._store.settle_lapsed(now, limits.RESERVATION_STEP) == limits.RESERVATION_STEP:
            pass


def expected(context: GenerationContext) -> Usage:
    """What a generation may come to use: its input at a guess, and all the output that it may have."""
    asked, most = context.outputs, context.generation.sampling.max_tokens
    most = limits.BUDGET_OUTPUT_TOKENS if most is None else most
    if most < limits.LEAST_OUTPUT and "responses" in context.route.capabilities.passthrough:
        most = limits.LEAST_OUTPUT
    return Usage(context.expected_input * asked.times, output_tokens=max(most, asked.tokens) * asked.times).bounded()


def _reached(budget: Budget) -> SpendLimitReached:
    whose = {"key": "This API key's", "project": "This project's", "organization": "The organization's"}[budget.scope]
    return SpendLimitReached(
        f"{whose} spend limit of {money.to_dollars(budget.amount)} US dollars for this {budget.period} leaves too "
        "little for this request.",
        code=f"{budget.scope}_spend_limit_exceeded",
    )
