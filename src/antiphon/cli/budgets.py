"""`antiphon budgets`: how much a key, a project or the organisation may spend in a day or a month."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated

import typer

from antiphon.cli.options import AsJson, with_settings
from antiphon.domain import money
from antiphon.domain.budgets import ORGANIZATION, Budget, Period, Scope
from antiphon.domain.errors import SetupError
from antiphon.settings import Loaded

if TYPE_CHECKING:
    from antiphon.datadir import DataDir
    from antiphon.ports import Store

app = typer.Typer(help="Budgets: set, list, clear.", no_args_is_help=True, rich_markup_mode=None)


@app.command("set")
@with_settings("data_dir", "database")
def set_budget(
    loaded: Loaded,
    project: Annotated[str, typer.Option(help="A project's budget, by its name or id.")] = "",
    key: Annotated[str, typer.Option(help="A key's budget, by the key's id.")] = "",
    day: Annotated[str, typer.Option(metavar="DOLLARS", help="Most that may be spent in a day (UTC).")] = "",
    month: Annotated[str, typer.Option(metavar="DOLLARS", help="Most that may be spent in a month (UTC).")] = "",
    alert: Annotated[
        list[str] | None,
        typer.Option(metavar="DOLLARS", help="Only tell when so much is spent in a month; may be given several times."),
    ] = None,
    allow_unknown: Annotated[
        bool, typer.Option("--allow-unknown", help="Let calls through whose price is not known; they count nothing.")
    ] = False,
) -> None:
    """Set a hard limit and alerts: of a project, of a key, or (with neither) of the organization.

    A running server knows it within seconds.
    """
    from antiphon.cli.tenants import with_store

    wanted: list[tuple[Period, int, bool]] = []
    if day:
        wanted.append(("day", _amount(day), True))
    if month:
        wanted.append(("month", _amount(month), True))
    wanted += [("month", _amount(text), False) for text in alert or ()]
    if not wanted:
        raise SetupError("Say how much: --day, --month or --alert, each with an amount of US dollars.")

    async def work(store: Store, data_dir: DataDir) -> list[Budget]:
        from antiphon.domain.organisation import CLI
        from antiphon.policy.money.changes import BudgetChanges
        from antiphon.run.clock import SystemClock

        scope, subject, project_id = await _subject(store, project, key)
        changes = BudgetChanges(store, SystemClock())
        return [
            await changes.put(
                CLI,
                scope,
                subject,
                period,
                amount,
                hard=hard,
                allow_unknown=hard and allow_unknown,
                project_id=project_id,
            )
            for period, amount, hard in wanted
        ]

    for budget in with_store(loaded, work):
        typer.echo(budget.id)


@app.command("list")
@with_settings("data_dir", "database")
def list_budgets(
    loaded: Loaded,
    as_json: AsJson = False,
) -> None:
    """List budgets and alerts, with what is spent in their day or month."""
    from antiphon.cli.output import table
    from antiphon.cli.tenants import with_store

    async def work(store: Store, data_dir: DataDir) -> tuple[list[Budget], dict[str, str]]:
        return await store.list_budgets(), {one.id: one.name for one in await store.list_projects()}

    budgets, names = with_store(loaded, work)
    now = time.time()
    if as_json:
        typer.echo(json.dumps([_shown(budget, now) for budget in budgets], indent=2))
        return
    rows = [
        [
            budget.id,
            budget.scope,
            names.get(budget.subject, budget.subject) or "-",
            budget.period,
            "limit" if budget.hard else "alert",
            money.to_dollars(budget.amount),
            money.to_dollars(budget.spent_at(now)),
            money.to_dollars(budget.reserved),
        ]
        for budget in budgets
    ]
    table(["BUDGET", "OF", "NAME", "PERIOD", "KIND", "DOLLARS", "SPENT", "RESERVED"], rows)


@app.command("clear")
@with_settings("data_dir", "database")
def clear(
    loaded: Loaded,
    budget_id: Annotated[str, typer.Argument(metavar="BUDGET", help="The id that 'antiphon budgets list' shows.")],
) -> None:
    """Remove a budget or an alert. A running server knows it within seconds."""
    from antiphon.cli.tenants import with_store

    async def work(store: Store, data_dir: DataDir) -> bool:
        from antiphon.domain.organisation import CLI
        from antiphon.policy.money.changes import BudgetChanges
        from antiphon.run.clock import SystemClock

        found = [budget for budget in await store.list_budgets() if budget.id == budget_id]
        return bool(found) and await BudgetChanges(store, SystemClock()).remove(CLI, found[0])

    if not with_store(loaded, work):
        raise SetupError(f"There is no budget '{budget_id}'. 'antiphon budgets list' shows them all.")
    typer.echo(f"Removed {budget_id}.")


async def _subject(store: Store, project: str, key: str) -> tuple[Scope, str, str | None]:
    """Whose budget it is, and the project of a key."""
    from antiphon.cli.tenants import get_project

    if project and key:
        raise SetupError("A budget is of a project or of a key, not of both.")
    if project:
        return "project", (await get_project(store, project)).id, None
    if not key:
        return "organization", ORGANIZATION, None
    found = await store.get_key(key)
    if found is None:
        raise SetupError(f"There is no key '{key}'. 'antiphon keys list' shows them all.")
    return "key", found.id, found.project_id


def _amount(text: str) -> int:
    try:
        return money.from_dollars(text)
    except ValueError as error:
        raise SetupError(f"{error}.") from None


def _shown(budget: Budget, now: float) -> dict[str, object]:
    return {
        "id": budget.id,
        "scope": budget.scope,
        "subject": budget.subject or None,
        "period": budget.period,
        "hard": budget.hard,
        "allow_unknown": budget.allow_unknown,
        "dollars": money.to_dollars(budget.amount),
        "spent": money.to_dollars(budget.spent_at(now)),
        "reserved": money.to_dollars(budget.reserved),
    }
