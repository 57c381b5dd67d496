"""A program that stores responses until it is killed, and says which ones are durable. For the durability tests.

python store_client.py URL          stores without end; prints each id once it is acknowledged
python store_client.py URL NAME     stores the project and the response NAME, prints NAME, ends
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from contextlib import suppress

from antiphon.domain.errors import Conflict
from antiphon.domain.records import StoredItem, StoredResponse
from antiphon.domain.tenancy import Project
from antiphon.stores.store import SqlStore

WRITERS = 16


async def main(url: str, name: str | None) -> None:
    """See above."""
    store = SqlStore(url, backups=None)
    await store.open()
    with suppress(Conflict):  # another process was first
        await store.create_project(Project("proj_one", "one", 1))

    async def put(response_id: str) -> None:
        record = StoredResponse("proj_one", response_id, 1, "completed", "m", b'"%s"' % response_id.encode())
        await store.put_response(record, [StoredItem(f"msg_{response_id}", 0, "input", b"{}")])
        print(response_id, flush=True)

    if name is not None:
        await put(name)
        await store.close()
        return
    numbers = itertools.count()

    async def keep_putting() -> None:
        for number in numbers:
            await put(f"resp_{number}")

    await asyncio.gather(*(keep_putting() for _ in range(WRITERS)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None))
