"""What only a server that speaks S3 can do wrong with blobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from antiphon.domain import limits
from antiphon.domain.errors import SetupError, StoreUnavailable
from antiphon.stores.blobs.s3 import S3Blobs, S3Location
from support.s3 import ACCESS_KEY, BUCKET, S3, SECRET_KEY, s3_server


@pytest.fixture
def server() -> Iterator[S3]:
    with s3_server() as server:
        yield server


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def location(server: S3, secret: str = SECRET_KEY) -> S3Location:
    return S3Location(BUCKET, "p", server.url, "us-east-1", ACCESS_KEY, secret)


def run(where: S3Location, work: Callable[[S3Blobs], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        store = S3Blobs(where)
        await store.open()
        return await work(store)

    return asyncio.run(main())


def test_a_server_that_stumbles_is_asked_again(server: S3) -> None:
    async def work(store: S3Blobs) -> None:
        server.failures += [500]
        await store.put("a/b", chunks(b"hello"), max_size=10)
        server.failures += [503]
        assert [piece async for piece in store.get("a/b")] == [b"hello"]

    run(location(server), work)
    assert server.objects == {"p/a/b": b"hello"}


def test_a_server_that_fails_for_good(server: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BLOB_RETRIES", 1)

    async def work(store: S3Blobs) -> None:
        calls = [
            lambda: store.put("a/b", chunks(b"hello"), max_size=10),
            lambda: store.find("a/b"),
            lambda: store.delete("a/b"),
            lambda: store.page("", limit=1),
            lambda: anext(store.get("a/b")),
        ]
        for call in calls:
            server.failures[:] = [500] * 4
            with pytest.raises(StoreUnavailable) as refused:
                await call()
            assert "127.0.0.1" not in str(refused.value)
            assert refused.value.__cause__ is None
        server.failures.clear()

    run(location(server), work)
    assert server.objects == {}


def test_a_part_that_fails_ends_the_upload_there_too(server: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BLOB_RETRIES", 0)

    async def work(store: S3Blobs) -> None:
        async def parts() -> AsyncIterator[bytes]:
            yield b"x" * limits.BLOB_PART
            yield b"x" * limits.BLOB_PART
            server.failures[:] = [500]
            yield b"x" * limits.BLOB_PART
            yield b"x" * limits.BLOB_PART

        with pytest.raises(StoreUnavailable):
            await store.put("a/b", parts(), max_size=limits.MAX_UPLOAD)

    run(location(server), work)
    assert (server.objects, server.uploads) == ({}, {})


@pytest.mark.parametrize("wrong", ["secret", "bucket", "address"])
def test_a_wrong_setting_is_told_at_the_start_without_the_secret(
    server: S3, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BLOB_RETRIES", 0)
    where = {
        "secret": location(server, "another-secret"),
        "bucket": S3Location("other", "", server.url, "us-east-1", ACCESS_KEY, SECRET_KEY),
        "address": S3Location(BUCKET, "", "http://127.0.0.1:9", "us-east-1", ACCESS_KEY, SECRET_KEY),
    }[wrong]
    with pytest.raises(SetupError) as refused:
        run(where, lambda store: store.find("a"))
    for secret in ("another-secret", SECRET_KEY, ACCESS_KEY):
        assert secret not in str(refused.value)
        assert secret not in repr(where)
