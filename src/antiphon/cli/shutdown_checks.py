"""What `antiphon doctor` says of shutdowns: which keys still use what goes when, and what to use then."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from antiphon.cli.findings import Finding, State
from antiphon.domain import limits
from antiphon.domain.retirement import Retirement, Retirements
from antiphon.settings import Settings

if TYPE_CHECKING:
    from antiphon.domain.routing import RouteSpec, UpstreamSpec

_SUBJECT = "shutdowns"
_USES = f"""
    SELECT uses.subject, uses.last_day, uses.count, projects.name, uses.key_id, api_keys.name
    FROM retiring_uses AS uses
    JOIN projects ON projects.id = uses.project_id
    LEFT JOIN api_keys ON api_keys.id = uses.key_id
    WHERE uses.last_day >= :since
    ORDER BY uses.last_day DESC, projects.name, uses.key_id, uses.subject
    LIMIT {limits.USES_SHOWN + 1}
"""  # noqa: S608 - the one thing put in is a number of ours

Row = tuple[str, int, int, str, str, str | None]


def shutdowns(settings: Settings) -> Iterator[Finding]:
    """What the keys of this server used lately that is shut down, or has been."""
    from antiphon.models.retirements import retirements  # the list is read when it is asked for

    known = retirements()
    today = datetime.now(UTC).date()
    yield from age(known, today)
    rows = _rows(settings, int(time.time()) - limits.USES_RECENT)
    found = [finding for row in rows[: limits.USES_SHOWN] if (finding := of_use(row, known, today)) is not None]
    yield from found
    if len(rows) > limits.USES_SHOWN:
        yield Finding(State.WARN, _SUBJECT, f"more than {limits.USES_SHOWN} uses; the latest are shown")
    yield from of_routes(tuple(settings.routes.values()), tuple(settings.upstreams.values()))
    if not found:
        yield Finding(State.OK, _SUBJECT, f"no key used anything that is shut down (list of {known.as_of})")


def age(known: Retirements, today: date) -> Iterator[Finding]:
    """A remark if the list is old."""
    if (today - known.as_of).days > limits.RETIREMENTS_FRESH:
        yield Finding(
            State.WARN,
            _SUBJECT,
            f"the list of shutdowns is of {known.as_of}",
            f"a newer Antiphon knows more; OpenAI's own list is {known.page}",
        )


def of_routes(routes: tuple[RouteSpec, ...], upstreams: tuple[UpstreamSpec, ...]) -> Iterator[Finding]:
    """Targets of configured routes that go, used or not."""
    from antiphon.models.retirements import retirements
    from antiphon.policy.shutdowns.notices import Shutdowns

    known = retirements()
    today = datetime.now(UTC).date()
    for spec, target, found in Shutdowns(known, upstreams).targets(routes):
        name = f"{target.upstream}/{target.model or spec.name}"
        text = f"the route '{spec.name}' has the target {name}: {when(found, today)}"
        yield Finding(State.WARN, _SUBJECT, text, f"put in its place: {known.advice(found)}")


def of_use(row: Row, known: Retirements, today: date) -> Finding | None:
    """One key's use of one thing. None if the list no longer has it."""
    subject, last_day, count, project, key_id, key_name = row
    found = known.by_subject(subject)
    if found is None:
        return None
    key = f"the key '{key_name}' ({key_id})" if key_name else f"the key {key_id}"
    last = datetime.fromtimestamp(last_day, UTC).date()
    times = "once" if count == 1 else f"{count} times"
    who = f"{key} of project '{project}' used {found.name} {times}, last on {last}"
    if found.kind == "endpoint":
        text = f"{who}: at OpenAI, {when(found, today)}; this server goes on with its own"
        return Finding(State.OK, _SUBJECT, text, f"at OpenAI instead: {known.advice(found)}")
    return Finding(State.WARN, _SUBJECT, f"{who}: {when(found, today)}", f"use instead: {known.advice(found)}")


def when(found: Retirement, today: date) -> str:
    """When it goes, in words."""
    days = (found.shutdown - today).days
    if days < 0:
        return f"it was shut down on {found.shutdown}"
    left = "today" if days == 0 else "tomorrow" if days == 1 else f"in {days} days"
    return f"it is shut down on {found.shutdown}, {left}"


def _rows(settings: Settings, since: int) -> list[Row]:
    """The uses, read without changing anything. Empty if there is no database yet, or an older one."""
    parameters: dict[str, Any] = {"since": since}
    if not settings.database.startswith("sqlite:"):
        from antiphon.stores.postgres import PostgresDriver  # an extra, and only some need it

        driver = PostgresDriver(settings.database)
        driver.prepare()
        with closing(driver.connect(read_only=True)) as connection:
            cursor = connection.cursor()
            try:
                cursor.execute(_USES.replace(":since", "%(since)s"), parameters)
            except driver.error:
                return []
            return list(cursor.fetchall())
    path = Path(settings.database.removeprefix("sqlite:///"))
    if not path.exists():
        return []
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as reader:
            return list(reader.execute(_USES, parameters).fetchall())
    except sqlite3.DatabaseError:
        # The check of the database says what is wrong with it.
        return []
