"""`antiphon cost`: what a request would cost, and what was spent."""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from antiphon.cli.options import AsJson, with_settings
from antiphon.domain import money
from antiphon.domain.errors import SetupError
from antiphon.settings import Loaded

if TYPE_CHECKING:
    from antiphon.datadir import DataDir
    from antiphon.domain.ledger import Dimension, Entry, Sum
    from antiphon.ports import Store

app = typer.Typer(help="Costs: estimate, report, show.", no_args_is_help=True, rich_markup_mode=None)

_DAY = 86_400
_BAR = 30
_BY: dict[str, Dimension] = {
    "project": "project_id",
    "key": "key_id",
    "user": "user_id",
    "model": "model",
    "day": "day",
}


@app.command("estimate")
@with_settings("data_dir")
def estimate(
    loaded: Loaded,
    request: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="A request as JSON, as it would be sent.", dir_okay=False)
    ] = None,
    model: Annotated[str, typer.Option(help="The model, where the request names none.")] = "",
    text: Annotated[str, typer.Option("--input", help="A text to send, instead of a request.")] = "",
    output_tokens: Annotated[
        int | None, typer.Option(min=0, max=100_000_000, help="Tokens of the answer, where the request has no limit.")
    ] = None,
    provider: Annotated[str, typer.Option(help="Whose price it is, by its name in the list of prices.")] = "openai",
    as_json: AsJson = False,
) -> None:
    """Price a request before it is sent. Nothing is sent to anybody but, if need be, the running server."""
    from antiphon.cli.estimate import estimated

    lines = estimated(loaded, request, model, text, output_tokens, provider)
    if as_json:
        typer.echo(json.dumps(lines, indent=2))
        return
    for name, value in lines.items():
        typer.echo(f"{name.replace('_', ' '):<14} {'unknown' if value is None else value}")


@app.command("report")
@with_settings("data_dir", "database")
def report(
    loaded: Loaded,
    by: Annotated[str, typer.Option(metavar="WHAT", help="project, key, user, model or day; with commas, several.")] = (
        "model"
    ),
    days: Annotated[int, typer.Option(min=1, max=36_500, help="So many days back, today (UTC) included.")] = 30,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """What was spent: a table, and a bar for each line of it."""
    from antiphon.cli.tenants import with_store
    from antiphon.domain.ledger import Asked

    names = [name.strip() for name in by.split(",") if name.strip()]
    if not names or not set(names) <= set(_BY):
        raise SetupError(f"--by is one or several of {', '.join(_BY)}.")
    end = (int(time.time()) // _DAY + 1) * _DAY
    # One bucket from 1970 on: the days are a group like others.
    asked = Asked(end - days * _DAY, end, 2 * end, group_by=tuple(_BY[name] for name in dict.fromkeys(names)))

    async def work(store: Store, data_dir: DataDir) -> tuple[list[Sum], dict[str, str]]:
        return await store.usage(asked), {project.id: project.name for project in await store.list_projects()}

    sums, projects = with_store(loaded, work)
    rows = [_row(one, projects) for one in sums]
    if "day" not in names:
        rows.sort(key=lambda row: -row["nano"])
    if as_json:
        typer.echo(json.dumps([_shown(row) for row in rows], indent=2))
    elif as_csv:
        typer.echo(_csv([_shown(row) for row in rows]), nl=False)
    else:
        _print(rows, [*asked.group_by])


@app.command("show")
@with_settings("data_dir", "database")
def show(
    loaded: Loaded,
    name: Annotated[str, typer.Argument(metavar="ID", help="The id of a response, a completion or a request.")],
    as_json: AsJson = False,
) -> None:
    """What one call used and cost."""
    from antiphon.cli.tenants import with_store

    async def work(store: Store, data_dir: DataDir) -> list[Entry]:
        return await store.find_entries(name)

    found = with_store(loaded, work)
    if not found:
        raise SetupError(f"The ledger knows nothing of '{name}'.")
    shown = [_entry(entry) for entry in found]
    if as_json:
        typer.echo(json.dumps(shown, indent=2))
        return
    for values in shown:
        for member, value in values.items():
            if value not in (None, "", False, 0):
                typer.echo(f"{member.replace('_', ' '):<20} {value}")


def _row(one: Sum, projects: dict[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, value in one.group.items():
        shown = value
        if name == "day":
            shown = time.strftime("%Y-%m-%d", time.gmtime(int(value or 0) * _DAY))
        elif name == "project_id":
            shown = projects.get(str(value), value)
        row[name.removesuffix("_id")] = shown
    return row | {
        "calls": one.calls,
        "failed": one.failed,
        "input_tokens": one.input_tokens,
        "output_tokens": one.output_tokens,
        "dollars": money.to_dollars(one.cost),
        "saved": money.to_dollars(one.saved),
        "unknown": one.unknown,
        "nano": one.cost,
        "saved_nano": one.saved,
    }


def _print(rows: list[dict[str, Any]], groups: list[Dimension]) -> None:
    from antiphon.cli.output import table

    columns = [name.removesuffix("_id") for name in groups]
    head = [name.upper() for name in columns]
    most = max((row["nano"] for row in rows), default=0)
    # Without costs the bars show tokens: a local model costs nothing.
    amount = "nano" if most else "output_tokens"
    most = most or max((row["output_tokens"] for row in rows), default=0)
    lines = [
        [
            *(str(row[name] if row[name] is not None else "-") for name in columns),
            str(row["calls"]),
            str(row["input_tokens"]),
            str(row["output_tokens"]),
            row["dollars"] + (f" + {row['unknown']} unknown" if row["unknown"] else ""),
            "█" * (row[amount] * _BAR // most if most else 0) or "▏",
        ]
        for row in rows
    ]
    table([*head, "CALLS", "INPUT", "OUTPUT", "DOLLARS", ""], lines)
    if rows:
        total = money.to_dollars(sum(row["nano"] for row in rows))
        saved = sum(row["saved_nano"] for row in rows)
        typer.echo(f"Total: {total} US dollars" + (f"; saved by the cache: {money.to_dollars(saved)}" if saved else ""))


def _csv(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    # A cell that begins like a formula is one, for some programs that open such a file.
    writer.writerows(
        {name: f"'{value}" if str(value)[:1] in {"=", "+", "@", "-"} else value for name, value in row.items()}
        for row in rows
    )
    return text.getvalue()


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in {"nano", "saved_nano"}}


def _entry(entry: Entry) -> dict[str, Any]:
    import msgspec

    values = msgspec.structs.asdict(entry)
    values["at"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(entry.at // 1000))
    for name in ("fallback", "kept", "estimated", "batch", "streamed", "background"):
        values[name] = bool(values[name])
    for name in ("cost", "saved"):
        nano = values.pop(name)
        values[f"{name}_dollars"] = "unknown" if nano is None else money.to_dollars(nano)
    return values
