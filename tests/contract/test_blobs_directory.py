"""What only a folder can do wrong with blobs."""

from __future__ import annotations

import asyncio
import hashlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from antiphon.domain import limits
from antiphon.domain.errors import SetupError, StoreUnavailable
from antiphon.stores.blobs.directory import DirectoryBlobs

ROOT = Path(__file__).resolve().parents[2]


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def files_below(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_a_disk_that_takes_no_more_is_said_so_and_leaves_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        store = DirectoryBlobs(tmp_path)
        await store.open()
        await store.put("a/b", chunks(b"before"), max_size=10)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3 * limits.BLOB_WRITE // 2, hard))
        try:
            with pytest.raises(StoreUnavailable) as refused:
                await store.put("a/b", chunks(*[b"x" * limits.BLOB_WRITE] * 3), max_size=limits.MAX_UPLOAD)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert refused.value.status == 503
        assert str(tmp_path) not in str(refused.value)
        async with aclosing(store.get("a/b")) as pieces:
            assert [piece async for piece in pieces] == [b"before"]
        await store.close()

    asyncio.run(main())
    assert files_below(tmp_path) == ["a/b"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="Files cannot be kept"):
        asyncio.run(DirectoryBlobs(tmp_path / "file" / "blobs").open())


def test_old_leftovers_are_removed(tmp_path: Path) -> None:
    unfinished = tmp_path / ".unfinished"
    unfinished.mkdir()
    for name, age in (("old", limits.BLOB_LEFTOVER_AGE + 60), ("new", 60)):
        (unfinished / name).write_text("half")
        then = (unfinished / name).stat().st_mtime - age
        os.utime(unfinished / name, (then, then))

    async def main() -> None:
        store = DirectoryBlobs(tmp_path)
        await store.open()
        assert await store.page("", limit=10) == []
        await store.close()

    asyncio.run(main())
    assert files_below(tmp_path) == [".unfinished/new"]


def test_others_on_the_machine_cannot_read_them(tmp_path: Path) -> None:
    async def main() -> None:
        store = DirectoryBlobs(tmp_path / "blobs")
        await store.open()
        await store.put("a/b", chunks(b"private"), max_size=10)
        await store.close()

    asyncio.run(main())
    assert (tmp_path / "blobs/a/b").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "blobs/a").stat().st_mode & 0o777 == 0o700


_WRITER = """
import asyncio, hashlib, sys
from antiphon.stores.blobs.directory import DirectoryBlobs
from pathlib import Path

async def main():
    store = DirectoryBlobs(Path(sys.argv[1]))
    await store.open()
    async def one(number):
        while True:
            data = number.to_bytes(4, "big") * 500_000
            async def parts():
                for at in range(0, len(data), 100_000):
                    yield data[at : at + 100_000]
            name = "w/" + hashlib.sha256(data).hexdigest()
            await store.put(name, parts(), max_size=len(data))
            print(name, flush=True)
            number += 4
    await asyncio.gather(*(one(number) for number in range(4)))

asyncio.run(main())
"""


def test_a_process_that_is_killed_leaves_only_whole_blobs(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WRITER, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    announced = set()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            announced.add(line.strip())
            if len(announced) == 20:
                process.send_signal(signal.SIGKILL)
                break
        announced |= {line.strip() for line in process.stdout if line.endswith("\n")}

    async def main() -> None:
        store = DirectoryBlobs(tmp_path)
        await store.open()
        there = {blob.name for blob in await store.page("", limit=limits.MAX_BLOB_PAGE)}
        assert announced <= there
        for name in there:
            async with aclosing(store.get(name)) as pieces:
                digest = hashlib.sha256(b"".join([piece async for piece in pieces])).hexdigest()
            assert name == f"w/{digest}"
        await store.close()

    asyncio.run(main())
