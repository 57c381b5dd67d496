"""Where the bytes of files are kept: beside the database, which holds what they are and whose."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Blob:
    """What is known of a stored blob. `size`: in bytes. `modified_at`: Unix seconds."""

    name: str
    size: int
    modified_at: int


@dataclass(frozen=True, slots=True)
class WrittenBlob:
    """A blob that has just been stored. `sha256`: of its bytes, in hexadecimal."""

    name: str
    size: int
    sha256: str


class BlobStore(Protocol):
    """Blobs by name. A blob is written once as a whole, and is never seen before all of it is stored.

    A name has levels, divided by `/`, of ASCII letters, digits, `-` and `_`: such as `proj_…/file_…`. No name is a
    level of another one. All methods raise `ValueError` for other names, and `StoreUnavailable` if the place where
    blobs are kept cannot be used for now.
    """

    async def open(self) -> None:
        """Make ready. Raises `SetupError` if blobs cannot be kept there."""

    async def close(self) -> None:
        """Give up what is held. Safe to call twice."""

    async def put(
        self, name: str, chunks: AsyncIterable[bytes], *, max_size: int, sha256: str | None = None
    ) -> WrittenBlob:
        """Store a blob, in the place of one with this name. It is on the disk when this returns.

        Raises `PayloadTooLarge` beyond `max_size` bytes, `InvalidRequest` (code "checksum_mismatch") if the bytes are
        not those with this SHA-256, and what `chunks` raises. After any error the name is as it was.
        """

    def get(self, name: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` up to but without `end` (None: to the end), in pieces.

        Raises `NotFound` if there is no such blob. What lies behind the blob's end is not there: the bytes are fewer.
        """

    async def find(self, name: str) -> Blob | None:
        """What is known of a blob; None if there is none."""

    async def delete(self, name: str) -> bool:
        """Remove a blob. False if there was none (where the place can tell)."""

    async def page(self, prefix: str, *, after: str = "", limit: int) -> list[Blob]:
        """Blobs whose names begin with `prefix` and come after `after`, in the order of their names' bytes.

        `prefix`: whole levels, such as `proj_…/`; empty for all.
        """
