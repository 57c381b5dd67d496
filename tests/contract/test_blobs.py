"""One suite for every place where blobs are kept."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest, NotFound, PayloadTooLarge
from antiphon.ports.blobs import BlobStore
from antiphon.stores.blobs.directory import DirectoryBlobs
from antiphon.stores.blobs.s3 import S3Blobs, S3Location
from support.s3 import ACCESS_KEY, BUCKET, S3, SECRET_KEY, s3_server

MIB = limits.MIB
#: More than one part of an upload.
LARGE = bytes(range(256)) * (limits.BLOB_PART // 256 * 2 + 100)


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as server:
        yield server
        assert server.forged == []
        assert server.uploads == {}, "uploads were left unfinished"


@pytest.fixture(params=["directory", "s3"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], BlobStore]:
    if request.param == "directory":
        return lambda: DirectoryBlobs(tmp_path / "blobs")
    server: S3 = request.getfixturevalue("s3")
    server.objects.clear()
    location = S3Location(BUCKET, "some/prefix", server.url, "us-east-1", ACCESS_KEY, SECRET_KEY)
    return lambda: S3Blobs(location)


Work = Callable[[BlobStore], Awaitable[Any]]


@pytest.fixture
def run(make: Callable[[], BlobStore]) -> Callable[[Work], Any]:
    def run_with(work: Work) -> Any:
        async def main() -> Any:
            store = make()
            await store.open()
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(main())

    return run_with


async def chunks(data: bytes, size: int = 64 * 1024) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def read(store: BlobStore, name: str, start: int = 0, end: int | None = None) -> bytes:
    async with aclosing(store.get(name, start, end)) as pieces:
        return b"".join([piece async for piece in pieces])


@pytest.mark.parametrize("data", [b"", b"x", b"hello" * 1000, LARGE], ids=["empty", "byte", "small", "large"])
def test_what_is_put_is_got(run: Callable[[Work], Any], data: bytes) -> None:
    async def work(store: BlobStore) -> None:
        written = await store.put("proj_1/file_1", chunks(data), max_size=len(data))
        assert (written.name, written.size) == ("proj_1/file_1", len(data))
        assert written.sha256 == hashlib.sha256(data).hexdigest()
        assert await read(store, "proj_1/file_1") == data
        found = await store.find("proj_1/file_1")
        assert found is not None
        assert (found.name, found.size) == ("proj_1/file_1", len(data))
        assert found.modified_at > 1_700_000_000

    run(work)


@pytest.mark.parametrize(
    ("start", "end"), [(0, 1), (5, 10), (0, None), (999, None), (990, 5000), (1000, None), (2000, 3000), (7, 7)]
)
def test_a_range_of_it(run: Callable[[Work], Any], start: int, end: int | None) -> None:
    data = bytes(n % 251 for n in range(1000))

    async def work(store: BlobStore) -> None:
        await store.put("a/b", chunks(data), max_size=1000)
        assert await read(store, "a/b", start, end) == data[start:end]

    run(work)


def test_a_large_range_comes_in_pieces(run: Callable[[Work], Any]) -> None:
    async def work(store: BlobStore) -> None:
        await store.put("a/b", chunks(LARGE), max_size=len(LARGE))
        got = b""
        async with aclosing(store.get("a/b", 100, 6 * MIB)) as pieces:
            async for piece in pieces:
                assert 0 < len(piece) <= limits.BLOB_READ
                got += piece
        assert got == LARGE[100 : 6 * MIB]

    run(work)


def test_what_is_not_there(run: Callable[[Work], Any]) -> None:
    async def work(store: BlobStore) -> None:
        assert await store.find("a/b") is None
        assert not await store.delete("a/b")
        with pytest.raises(NotFound):
            await read(store, "a/b")
        assert await store.page("", limit=10) == []
        assert await store.page("a/", limit=10) == []

    run(work)


def test_putting_again_replaces(run: Callable[[Work], Any]) -> None:
    async def work(store: BlobStore) -> None:
        await store.put("a/b", chunks(b"old and longer"), max_size=100)
        await store.put("a/b", chunks(b"new"), max_size=100)
        assert await read(store, "a/b") == b"new"
        assert len(await store.page("", limit=10)) == 1

    run(work)


def test_deleting(run: Callable[[Work], Any]) -> None:
    async def work(store: BlobStore) -> None:
        await store.put("a/b", chunks(b"1"), max_size=1)
        assert await store.delete("a/b")
        assert not await store.delete("a/b")
        assert await store.find("a/b") is None
        await store.put("a/b", chunks(b"2"), max_size=1)
        assert await read(store, "a/b") == b"2"

    run(work)


@pytest.mark.parametrize("size", [10, len(LARGE) - 1], ids=["small", "large"])
def test_too_much_is_refused_and_nothing_is_kept(run: Callable[[Work], Any], size: int) -> None:
    async def work(store: BlobStore) -> None:
        await store.put("a/b", chunks(b"before"), max_size=10)
        with pytest.raises(PayloadTooLarge):
            await store.put("a/b", chunks(LARGE[: size + 1]), max_size=size)
        with pytest.raises(PayloadTooLarge):
            await store.put("a/c", chunks(LARGE[: size + 1]), max_size=size)
        assert await read(store, "a/b") == b"before"
        assert [blob.name for blob in await store.page("", limit=10)] == ["a/b"]

    run(work)


@pytest.mark.parametrize("size", [10, len(LARGE)], ids=["small", "large"])
def test_a_source_that_breaks_leaves_nothing(run: Callable[[Work], Any], size: int) -> None:
    class Broken(Exception):
        pass

    async def broken() -> AsyncIterator[bytes]:
        async for chunk in chunks(LARGE[:size]):
            yield chunk
        raise Broken

    async def work(store: BlobStore) -> None:
        with pytest.raises(Broken):
            await store.put("a/b", broken(), max_size=2 * len(LARGE))
        assert await store.find("a/b") is None
        assert await store.page("", limit=10) == []

    run(work)


@pytest.mark.parametrize("before", [0, len(LARGE) - 1], ids=["at the start", "later"])
def test_a_writer_that_is_cancelled_leaves_nothing(run: Callable[[Work], Any], before: int) -> None:
    async def work(store: BlobStore) -> None:
        waits = asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            async for chunk in chunks(LARGE[:before]):
                yield chunk
            waits.set()
            await asyncio.Event().wait()

        writing = asyncio.ensure_future(store.put("a/b", slow(), max_size=2 * len(LARGE)))
        await waits.wait()
        assert await store.find("a/b") is None
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert await store.page("", limit=10) == []

    run(work)


@pytest.mark.parametrize("data", [b"right", LARGE], ids=["small", "large"])
def test_the_checksum_decides(run: Callable[[Work], Any], data: bytes) -> None:
    async def work(store: BlobStore) -> None:
        with pytest.raises(InvalidRequest) as refused:
            await store.put("a/b", chunks(data), max_size=len(data), sha256="0" * 64)
        assert refused.value.code == "checksum_mismatch"
        assert await store.find("a/b") is None
        right = hashlib.sha256(data).hexdigest().upper()
        await store.put("a/b", chunks(data), max_size=len(data), sha256=right)
        assert await store.find("a/b") is not None

    run(work)


def test_pages_of_names(run: Callable[[Work], Any]) -> None:
    names = sorted(["a/1", "a/2", "a/2-x/y", "a/3/1", "a/3/2", "a-b/1", "b/1", "ab/1"])

    async def work(store: BlobStore) -> None:
        for name in reversed(names):
            await store.put(name, chunks(name.encode()), max_size=100)
        whole = [blob.name for blob in await store.page("", limit=100)]
        assert whole == names
        got: list[str] = []
        while page := await store.page("", after=got[-1] if got else "", limit=3):
            assert len(page) <= 3
            got += [blob.name for blob in page]
        assert got == names
        assert [blob.name for blob in await store.page("a/", limit=100)] == [n for n in names if n.startswith("a/")]
        assert [blob.name for blob in await store.page("a/3/", after="a/3/1", limit=5)] == ["a/3/2"]

    run(work)


NAMES = ["", "/", "a//b", "/a", "a/", "..", "a/../b", ".", "a/./b", "a\\b", "ä", "a\x00b", "a b", "a.b", "a" * 256]
NAMES += ["/".join("a" * (limits.MAX_BLOB_LEVELS + 1)), "/".join(["a" * 200] * 3), "a\n", "-/%2e", ".unfinished/x"]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_are_none(run: Callable[[Work], Any], name: str) -> None:
    async def work(store: BlobStore) -> None:
        for call in (
            store.find(name),
            store.delete(name),
            store.put(name, chunks(b"x"), max_size=1),
            read(store, name),
        ):
            with pytest.raises(ValueError, match="name of a blob"):
                await call

    run(work)


def test_a_reader_that_leaves_early(run: Callable[[Work], Any]) -> None:
    async def work(store: BlobStore) -> None:
        await store.put("a/b", chunks(LARGE), max_size=len(LARGE))
        async with aclosing(store.get("a/b")) as pieces:
            await anext(pieces)
        assert await store.delete("a/b")

    run(work)


def test_many_at_once(run: Callable[[Work], Any]) -> None:
    async def work(store: BlobStore) -> None:
        async def one(number: int) -> None:
            name, data = f"p/{number % 5}/{number}", bytes([number]) * (number * 997)
            await store.put(name, chunks(data), max_size=len(data))
            assert await read(store, name) == data
            if number % 2:
                assert await store.delete(name)

        await asyncio.gather(*(one(number) for number in range(40)))
        assert len(await store.page("", limit=100)) == 20

    run(work)
