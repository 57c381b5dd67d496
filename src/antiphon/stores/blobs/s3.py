"""Blobs at a server that speaks S3.

S3 shows an object only once all of it has come, so the promise of the port holds by itself. Large blobs are uploaded in
parts; an upload that fails is given up there too. If this process dies in the middle, its parts stay, unseen: let a
lifecycle rule of the bucket remove incomplete uploads.

Blobs are read range by range, each a request of its own: a slow client holds no connection to the server open.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from antiphon.domain import limits
from antiphon.domain.errors import SetupError, StoreUnavailable
from antiphon.ports.blobs import Blob, WrittenBlob
from antiphon.stores.blobs.checked import CheckedChunks, not_found
from antiphon.stores.blobs.names import check_name, check_prefix

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import S3Config, S3Store


@dataclass(frozen=True, slots=True)
class S3Location:
    """Where the blobs are. `endpoint`: None for Amazon's own. Without keys, the environment's are used."""

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    access_key: str | None = None
    secret_key: str | None = None

    def __repr__(self) -> str:
        """Without the secret."""
        return f"S3Location({self.bucket!r}, {self.prefix!r})"


class S3Blobs:
    """Implements `ports.BlobStore` at a server that speaks S3."""

    def __init__(self, location: S3Location) -> None:
        self._location = location
        self._client: S3Store | None = None

    async def open(self) -> None:
        """Connect, and look whether the bucket can be read."""
        try:
            from obstore.store import S3Store  # an extra, and 16 MiB
        except ImportError:
            raise SetupError("Files in S3 need the extra 's3': pip install 'antiphon[s3]'.") from None
        where = self._location
        options: S3Config = {}
        if where.endpoint is not None:
            options["endpoint"] = where.endpoint
        if where.region is not None:
            options["region"] = where.region
        if where.access_key is not None and where.secret_key is not None:
            options["access_key_id"], options["secret_access_key"] = where.access_key, where.secret_key
        self._client = S3Store(
            where.bucket,
            prefix=where.prefix or None,
            config=options,
            client_options={
                "timeout": timedelta(seconds=limits.BLOB_REQUEST_TIMEOUT),
                "connect_timeout": timedelta(seconds=limits.BLOB_CONNECT_TIMEOUT),
                "allow_http": (where.endpoint or "").startswith("http://"),
            },
            retry_config={
                "max_retries": limits.BLOB_RETRIES,
                "retry_timeout": timedelta(seconds=limits.BLOB_RETRY_TIMEOUT),
            },
        )
        try:
            await self.page("", limit=1)
        except StoreUnavailable as error:
            raise SetupError(f"Files cannot be kept in the S3 bucket '{where.bucket}': {error.reason}.") from None

    async def close(self) -> None:
        """Nothing is held."""
        self._client = None

    async def put(
        self, name: str, chunks: AsyncIterable[bytes], *, max_size: int, sha256: str | None = None
    ) -> WrittenBlob:
        """Store a blob; see `ports.BlobStore`."""
        import obstore

        checked = CheckedChunks(chunks, max_size)
        client = self._connected()
        async with aclosing(checked.pieces(limits.BLOB_WRITE)) as pieces:
            with _translated():
                # Left with an error, the writer gives up what it has uploaded. A small blob is one request.
                async with obstore.open_writer_async(
                    client, check_name(name), buffer_size=limits.BLOB_PART, max_concurrency=limits.BLOB_PARTS_AT_ONCE
                ) as writer:
                    async for piece in pieces:
                        await writer.write(piece)
                    written = checked.written(name, sha256)
        return written

    async def get(self, name: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """The bytes of a blob; see `ports.BlobStore`."""
        import obstore

        client = self._connected()
        found = await self.find(name)
        if found is None:
            raise not_found()
        end = found.size if end is None else min(end, found.size)
        while start < end:
            piece_end = min(start + limits.BLOB_READ, end)
            try:
                with _translated():
                    piece = bytes(await obstore.get_range_async(client, name, start=start, end=piece_end))
            except FileNotFoundError:
                raise not_found() from None
            if not piece:
                return
            start += len(piece)
            yield piece

    async def find(self, name: str) -> Blob | None:
        """What is known of a blob."""
        import obstore

        client = self._connected()
        try:
            with _translated():
                return _blob(await obstore.head_async(client, check_name(name)))
        except FileNotFoundError:
            return None

    async def delete(self, name: str) -> bool:
        """Remove a blob. False if there was none."""
        import obstore

        if await self.find(name) is None:
            return False
        with _translated(), contextlib.suppress(FileNotFoundError):
            await obstore.delete_async(self._connected(), name)
        return True

    async def page(self, prefix: str, *, after: str = "", limit: int) -> list[Blob]:
        """Blobs in the order of their names; see `ports.BlobStore`."""
        import obstore

        check_prefix(prefix)
        page: list[Blob] = []
        with _translated():
            batches = obstore.list(
                self._connected(), prefix or None, offset=after or None, chunk_size=min(limit, limits.MAX_BLOB_PAGE)
            )
            async for batch in batches:
                page += [_blob(meta) for meta in batch]
                if len(page) >= limit:
                    break
        return page[:limit]

    def _connected(self) -> S3Store:
        if self._client is None:
            raise StoreUnavailable("the S3 client is closed")
        return self._client


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn what the client raises into `StoreUnavailable`. Its messages may quote addresses, so only its name stays."""
    from obstore.exceptions import BaseError, NotFoundError

    try:
        yield
    except (NotFoundError, FileNotFoundError):
        raise FileNotFoundError from None
    except (BaseError, OSError) as error:  # the writer raises the latter
        raise StoreUnavailable(f"the S3 server: {type(error).__name__}") from None


def _blob(meta: ObjectMeta) -> Blob:
    return Blob(meta["path"], meta["size"], int(meta["last_modified"].timestamp()))
