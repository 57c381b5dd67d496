"""A database from before there were jobs: what was under way goes on, and nothing else changes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from antiphon.domain.jobs import RESPONSE
from antiphon.stores import schema
from antiphon.stores.database import driver_for
from antiphon.stores.store import SqlStore
from contract.store_kit import ONE, run

BEFORE = "0008"
COLUMNS = (
    "project_id, id, created_at, status, model, body, previous_response_id, owner, wait_until, waited, background,"
    " cancel_requested, request, conversation_id, expires_at, has_log"
)
ROWS: dict[str, dict[str, Any]] = {
    "resp_made": {"status": "in_progress", "owner": "dead", "background": 1, "request": b"made"},
    "resp_waits": {"background": 1, "request": b"waits", "wait_until": 1_700_000_000_000, "waited": 5000},
    "resp_cancelled": {"background": 1, "request": b"cancelled", "cancel_requested": 1, "wait_until": 2**53},
    "resp_broken": {"background": 1, "request": None},
    "resp_heard": {"status": "in_progress", "owner": "dead"},
    "resp_ended": {"status": "completed", "background": 1, "expires_at": 2_000_000_000, "has_log": 1},
}


def old_database(url: str, folder: Path) -> None:
    """As the version before left it, with one response of each sort."""
    versions = folder / "versions"
    shutil.copytree(
        schema.MIGRATIONS / "versions", versions, ignore=lambda _, names: [n for n in names if n[:4] > BEFORE]
    )
    driver = driver_for(url)
    schema.bring_up_to_date(driver, None, head=BEFORE, versions=versions)
    with driver.migrating() as connection:
        connection.exec_driver_sql(f"INSERT INTO projects (id, name, created_at) VALUES ('{ONE}', 'one', 1)")
        names = [name.strip() for name in COLUMNS.split(",")]
        mark = "%({})s" if connection.dialect.name == "postgresql" else ":{}"
        marks = ", ".join(mark.format(name) for name in names)
        for number, (name, values) in enumerate(ROWS.items()):
            row = {
                **dict.fromkeys(names),
                "project_id": ONE,
                "id": name,
                "created_at": 100 + number,
                "status": "queued",
                "model": "m",
                "body": b"{}",
                "waited": 0,
                "background": 0,
                "cancel_requested": 0,
                "has_log": 0,
                **values,
            }
            connection.exec_driver_sql(f"INSERT INTO responses ({COLUMNS}) VALUES ({marks})", row)
        connection.exec_driver_sql(
            "INSERT INTO items (project_id, response_id, direction, position, id, body)"
            f" VALUES ('{ONE}', 'resp_ended', 'input', 0, 'msg_1', '')"
        )


def test_unfinished_background_responses_get_their_jobs(new_url: str, tmp_path: Path) -> None:
    if new_url.startswith("sqlite"):
        Path(new_url.removeprefix("sqlite:///")).parent.mkdir()
    old_database(new_url, tmp_path)

    async def test(store: SqlStore) -> None:
        jobs = {job.id: job for job in await store.list_jobs(limit=99)}
        assert list(jobs) == ["resp_broken", "resp_cancelled", "resp_waits", "resp_made"]
        waits = await store.get_job(ONE, "resp_waits")
        assert waits is not None
        assert (waits.kind, waits.payload, waits.waited, waits.run_at) == (RESPONSE, b"waits", 5000, 1_700_000_000_000)
        assert jobs["resp_cancelled"].cancel_requested
        await store.beat("w")
        free = await store.free_jobs(RESPONSE, each=9, limit=9)
        assert len(await store.claim_jobs("w", free)) == 4
        made = await store.get_response(ONE, "resp_made")
        assert made is not None
        assert made.owner == "w"
        assert [each.id for each in await store.interrupted_responses(limit=9)] == ["resp_heard"]
        ended = await store.get_response(ONE, "resp_ended")
        assert ended is not None
        assert (ended.status, ended.background, ended.expires_at) == ("completed", True, 2_000_000_000)
        # Rebuilding the table has deleted nothing that refers to it.
        assert len((await store.items_of(ONE, ["resp_ended"]))["resp_ended"]) == 1

    run(new_url, test)
