"""What both kinds of blob stores do with bytes: count them, hash them, refuse too many or the wrong ones."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterable

from antiphon.domain.errors import InvalidRequest, NotFound, PayloadTooLarge
from antiphon.ports.blobs import WrittenBlob


class CheckedChunks:
    """Chunks on their way into a blob."""

    def __init__(self, chunks: AsyncIterable[bytes], max_size: int) -> None:
        self._chunks = chunks
        self._max_size = max_size
        self._hash = hashlib.sha256()
        self.size = 0

    async def pieces(self, size: int) -> AsyncGenerator[bytes, None]:
        """The chunks, put together so that each piece but the last has at least `size` bytes. None is empty.

        Raises `PayloadTooLarge`, and what the chunks raise.
        """
        pending = bytearray()
        async for chunk in self._chunks:
            self.size += len(chunk)
            if self.size > self._max_size:
                raise PayloadTooLarge(f"The file is larger than {self._max_size} bytes.")
            self._hash.update(chunk)
            pending += chunk
            if len(pending) >= size:
                yield bytes(pending)
                pending.clear()
        if pending:
            yield bytes(pending)

    def written(self, name: str, sha256: str | None) -> WrittenBlob:
        """What was written. Raises `InvalidRequest` unless it has this hash (None: whatever it has)."""
        digest = self._hash.hexdigest()
        if sha256 is not None and digest != sha256.lower():
            raise InvalidRequest("The file's bytes are not those with this SHA-256.", code="checksum_mismatch")
        return WrittenBlob(name, self.size, digest)


def not_found() -> NotFound:
    """What is raised for a blob that is not there."""
    return NotFound("The file's content is gone.", code="blob_not_found")
