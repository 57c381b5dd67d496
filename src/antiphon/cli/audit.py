"""`antiphon audit`: who changed what."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from antiphon.cli.options import with_settings
from antiphon.settings import Loaded

if TYPE_CHECKING:
    from antiphon.datadir import DataDir
    from antiphon.domain.organisation import AuditEntry
    from antiphon.ports import Store


@with_settings("data_dir", "database")
def audit(
    loaded: Loaded,
    project: Annotated[str | None, typer.Option(help="Only what was changed in this project (name or id).")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many, the newest first.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one change a line.")] = False,
) -> None:
    """Print the log of administrative changes."""
    from antiphon.cli.output import moment, table
    from antiphon.cli.tenants import get_project, with_store
    from antiphon.domain.organisation import AuditFilter

    async def work(store: Store, data_dir: DataDir) -> tuple[list[AuditEntry], dict[str | None, str]]:
        wanted = AuditFilter(projects=((await get_project(store, project)).id,) if project else ())
        names: dict[str | None, str] = {found.id: found.name for found in await store.list_projects()}
        return (await store.list_audit(wanted, limit=limit)).data, names

    entries, names = with_store(loaded, work)
    if as_json:
        for entry in entries:
            typer.echo(json.dumps(asdict(entry)))
        return
    rows = [
        [
            moment(entry.at),
            entry.type,
            entry.resource_id,
            names.get(entry.project_id, entry.project_id or "-"),
            _who(entry),
            entry.actor.address or "-",
            _what(entry),
        ]
        for entry in entries
    ]
    table(["TIME (UTC)", "CHANGE", "OF", "PROJECT", "BY", "FROM", "FIELDS"], rows)


def _who(entry: AuditEntry) -> str:
    if entry.actor.kind == "session":
        return "command line"
    return entry.actor.email or entry.actor.key_id or "-"


def _what(entry: AuditEntry) -> str:
    """The changed fields, as `name=before→after`."""
    names = {**entry.before, **entry.after}
    return ", ".join(f"{name}={_change(entry, name)}" for name in names)


def _change(entry: AuditEntry, name: str) -> str:
    if name in entry.before and name in entry.after:
        return f"{entry.before[name]}→{entry.after[name]}"
    return str(entry.after.get(name, entry.before.get(name)))
