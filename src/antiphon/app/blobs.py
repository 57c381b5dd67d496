"""Where the bytes of files are kept, as the settings say."""

from __future__ import annotations

from pathlib import Path

from antiphon.ports.blobs import BlobStore
from antiphon.settings import Settings
from antiphon.settings.parsers import S3_SCHEME
from antiphon.stores.blobs.directory import DirectoryBlobs
from antiphon.stores.blobs.s3 import S3Blobs, S3Location


def blob_store(settings: Settings) -> BlobStore:
    """The store that the settings name; it is not open yet."""
    if not settings.blobs.startswith(S3_SCHEME):
        return DirectoryBlobs(Path(settings.blobs) if settings.blobs else settings.data_dir / "blobs")
    bucket, _, prefix = settings.blobs.removeprefix(S3_SCHEME).partition("/")
    return S3Blobs(
        S3Location(
            bucket,
            prefix.strip("/"),
            settings.s3_endpoint or None,
            settings.s3_region or None,
            settings.s3_key_id or None,
            settings.s3_key or None,
        )
    )


class BlobService:
    """The blob store as a service: open for as long as the server runs."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    async def start(self) -> None:
        """Open it. Raises `SetupError` if files cannot be kept there."""
        await self._blobs.open()

    async def stop(self) -> None:
        """Close it. Safe to call twice."""
        await self._blobs.close()
