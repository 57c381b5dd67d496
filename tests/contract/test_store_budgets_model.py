"""Budgets against a model of them: whatever calls do in whatever order, the books balance."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.domain.budgets import Budget, Reservation, Spending, window
from antiphon.stores.store import SqlStore
from contract.store_kit import opened
from support.examples import examples

NOW = 1_763_800_000
DAY = 86_400
_numbers = itertools.count()

#: What happens: a call asks for so much on these budgets; the oldest call ends and has cost so much; it is never heard
#: of again; a day passes.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 60), st.sets(st.sampled_from("abc"), min_size=1)),
        st.tuples(st.just("end"), st.integers(0, 80)),
        st.tuples(st.just("die")),
        st.tuples(st.just("wait")),
    ),
    max_size=25,
)
LIMITS = {"a": 100, "b": 150, "c": 60}


@dataclass
class Model:
    """What the books must say. `spent` by budget; `held`: reservations in order."""

    day: int = 0
    spent: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LIMITS, 0))
    held: list[tuple[str, int, frozenset[str]]] = field(default_factory=list)

    def reserved(self, name: str) -> int:
        return sum(amount for _, amount, names in self.held if name in names)

    def fits(self, amount: int, names: set[str]) -> bool:
        return all(self.spent[name] + self.reserved(name) + amount <= LIMITS[name] for name in names)


@settings(max_examples=examples(12), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_the_books_balance(url: str, steps: list[tuple[str, object, object]]) -> None:
    asyncio.run(_play(url, steps))


async def _play(url: str, steps: list[tuple[str, object, object]]) -> None:
    run = next(_numbers)
    model = Model()
    ids = {name: f"{name}{run}" for name in LIMITS}
    async with opened(url) as store:
        for name, amount in LIMITS.items():
            one = Budget(ids[name], "key", f"{name}{run}", "day", amount, True, False, 1)
            await store.put_budget(one, NOW)
        for number, (kind, *rest) in enumerate(steps):
            now = NOW + model.day * DAY
            if kind == "wait":
                model.day += 1
                model.spent = dict.fromkeys(LIMITS, 0)
            elif kind == "ask":
                amount, names = int(str(rest[0])), {str(name) for name in rest[1]}  # type: ignore[attr-defined]
                made = Reservation(f"r{run}-{number}", "s", tuple(ids[name] for name in names), amount, now * 1000)
                full = await store.reserve(made, now)
                assert (full is None) == model.fits(amount, names)
                if full is None:
                    model.held.append((made.id, amount, frozenset(names)))
            elif model.held:
                name, amount, names_held = model.held.pop(0)
                cost = amount if kind == "die" else int(str(rest[0]))
                await store.spend(Spending((), cost, name), now)
                for budget in names_held:
                    model.spent[budget] += cost
            await _compare(store, model, ids)


async def _compare(store: SqlStore, model: Model, ids: dict[str, str]) -> None:
    now = NOW + model.day * DAY
    stored = {budget.id: budget for budget in await store.list_budgets()}
    for name, budget_id in ids.items():
        budget = stored[budget_id]
        assert budget.spent_at(now) == model.spent[name], name
        assert budget.reserved == model.reserved(name), name
        assert budget.window <= window("day", now)
