"""The store on SQLite: durable writes a second with 64 callers, reads, opening.

The reference for the writes is the bare sqlite3 module in the same run: the same rows, 64 to a transaction, one thread.
"""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from antiphon.domain.ids import new_id
from antiphon.domain.records import StoredItem, StoredResponse
from antiphon.domain.tenancy import Project
from antiphon.stores.store import SqlStore

CALLERS = 64
WRITES = 10_000
READS = 2_000
TARGET = 3_000  # writes a second
BODY = b'{"text":"' + b"x" * 1500 + b'"}'
ITEM = b'{"text":"' + b"y" * 300 + b'"}'


def bare(path: Path) -> float:
    """Writes a second of the bare module, on a database that has our tables."""
    response = "INSERT INTO responses (project_id, id, created_at, status, model, body) VALUES (?, ?, 1, 'c', 'm', ?)"
    item = "INSERT INTO items (project_id, response_id, direction, position, id, body) VALUES (?, ?, ?, 0, ?, ?)"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        began = time.perf_counter()
        for _ in range(0, WRITES, CALLERS):
            ids = [new_id("resp_") for _ in range(CALLERS)]
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(response, [("proj_1", name, BODY) for name in ids])
            rows = [("proj_1", name, way, new_id("msg_"), ITEM) for name in ids for way in ("input", "output")]
            connection.executemany(item, rows)
            connection.execute("COMMIT")
        return WRITES / (time.perf_counter() - began)


async def writes(store: SqlStore) -> tuple[float, list[str]]:
    """Writes a second by CALLERS callers at once, and the ids."""
    ids = [new_id("resp_") for _ in range(WRITES)]
    left = iter(ids)

    async def caller() -> None:
        for name in left:
            items = [StoredItem(new_id("msg_"), 0, way, ITEM) for way in ("input", "output")]
            await store.put_response(StoredResponse("proj_1", name, 1, "completed", "m", BODY), items)

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return WRITES / (time.perf_counter() - began), ids


async def read_time(store: SqlStore, ids: list[str]) -> float:
    """Median seconds of one read, one caller."""
    times = []
    for name in ids[:READS]:
        began = time.perf_counter()
        found = await store.get_response("proj_1", name)
        times.append(time.perf_counter() - began)
        assert found is not None
    return statistics.median(times)


async def opening(path: Path) -> float:
    """Seconds to open the database in this file."""
    store = SqlStore(f"sqlite:///{path}", backups=None)
    began = time.perf_counter()
    await store.open()
    seconds = time.perf_counter() - began
    await store.close()
    return seconds


async def main() -> int:
    """Print the figures; 1 if the writes miss their target."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "antiphon.db"
        new, existing = await opening(path), await opening(path)
        store = SqlStore(f"sqlite:///{path}", backups=None)
        await store.open()
        await store.create_project(Project("proj_1", "one", 1))
        reference = bare(path)
        rate, ids = await writes(store)
        median = await read_time(store, ids)
        await store.close()
    print(f"store: {rate:,.0f} durable responses/s with {CALLERS} callers (target {TARGET:,})")
    print(f"store: {rate / reference:.2f} of the bare sqlite3 module's {reference:,.0f}/s")
    print(
        f"store: a read takes {median * 1e6:.0f} µs; opening {new * 1e3:.0f} ms new, {existing * 1e3:.1f} ms existing"
    )
    return 0 if rate >= TARGET else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
