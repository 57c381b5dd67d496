"""Blobs in a folder: each is a file.

A blob is written to a file beside all others, brought to the disk, and only then given its name, which the file system
does at once or not at all. So a name always stands for a whole blob, whatever ends the process or the machine. All of
it happens in threads of its own: a disk may hang.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import secrets
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import ParamSpec, TypeVar

from antiphon.domain import limits
from antiphon.domain.errors import SetupError, StoreUnavailable
from antiphon.ports.blobs import Blob, WrittenBlob
from antiphon.stores.blobs.checked import CheckedChunks, not_found
from antiphon.stores.blobs.names import check_name, check_prefix

P = ParamSpec("P")
T = TypeVar("T")

#: Where blobs are written before they have their names. No blob's name begins with a point.
_UNFINISHED = ".unfinished"


class DirectoryBlobs:
    """Implements `ports.BlobStore` in a folder of the local disk."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._unfinished = root / _UNFINISHED
        self._threads = ThreadPoolExecutor(limits.BLOB_THREADS, thread_name_prefix="blobs")

    async def open(self) -> None:
        """Make the folder, and remove what processes that have ended have left half-written."""
        try:
            await self._in_thread(self._prepare)
        except OSError as error:
            raise SetupError(f"Files cannot be kept in {self._root}: {error.strerror or error}.") from None

    def _prepare(self) -> None:
        self._unfinished.mkdir(parents=True, exist_ok=True, mode=0o700)
        for file in self._unfinished.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if file.stat().st_mtime < time.time() - limits.BLOB_LEFTOVER_AGE:
                    file.unlink()

    async def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False)

    async def put(
        self, name: str, chunks: AsyncIterable[bytes], *, max_size: int, sha256: str | None = None
    ) -> WrittenBlob:
        """Store a blob; see `ports.BlobStore`."""
        target = self._root / check_name(name)
        checked = CheckedChunks(chunks, max_size)
        with _translated():
            file = await self._in_thread(_NewFile, self._unfinished / secrets.token_hex(16))
        try:
            async with aclosing(checked.pieces(limits.BLOB_WRITE)) as pieces:
                async for piece in pieces:
                    with _translated():
                        await self._in_thread(file.write, piece)
            written = checked.written(name, sha256)
            with _translated():
                await self._in_thread(file.finish, target, self._root)
        except BaseException:
            await asyncio.shield(asyncio.ensure_future(self._in_thread(file.discard)))
            raise
        return written

    async def get(self, name: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """The bytes of a blob; see `ports.BlobStore`."""
        path = self._root / check_name(name)
        try:
            file = await self._in_thread(_OpenFile, path, start)
        except (FileNotFoundError, NotADirectoryError):
            raise not_found() from None
        except OSError as error:
            raise _unavailable(error) from None
        at = start
        try:
            while end is None or at < end:
                wanted = limits.FILE_PIECE if end is None else min(limits.FILE_PIECE, end - at)
                with _translated():
                    piece = await self._in_thread(file.read, wanted)
                if not piece:
                    return
                at += len(piece)
                yield piece
        finally:
            self._close_later(file)

    def _close_later(self, file: _OpenFile) -> None:
        """Close a file in a thread: if this reader was cancelled, another thread may still be reading."""
        try:
            self._threads.submit(file.close)
        except RuntimeError:  # the threads have ended
            file.close()

    async def find(self, name: str) -> Blob | None:
        """What is known of a blob."""
        path = self._root / check_name(name)
        with _translated(), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return _blob(name, await self._in_thread(path.stat))
        return None

    async def delete(self, name: str) -> bool:
        """Remove a blob. False if there was none."""
        path = self._root / check_name(name)
        with _translated(), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            await self._in_thread(_remove, path, self._root)
            return True
        return False

    async def page(self, prefix: str, *, after: str = "", limit: int) -> list[Blob]:
        """Blobs in the order of their names; see `ports.BlobStore`."""
        check_prefix(prefix)
        with _translated():
            return await self._in_thread(self._page, prefix, after, limit)

    def _page(self, prefix: str, after: str, limit: int) -> list[Blob]:
        found: list[Blob] = []
        for name in _names(self._root / prefix, prefix):
            if len(found) == limit:
                break
            if name > after:
                with contextlib.suppress(FileNotFoundError):
                    found.append(_blob(name, (self._root / name).stat()))
        return found

    async def _in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        call = functools.partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


class _NewFile:
    """A file that is being written, by one thread at a time. It has no name that a reader would look for."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = path
        self._lock = threading.Lock()
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0)

    def write(self, piece: bytes) -> None:
        """Write all of it: a disk that is nearly full takes a part, and fails at the next try."""
        with self._lock:
            rest = memoryview(piece)
            while rest:
                rest = rest[self._file.write(rest) :]

    def finish(self, target: Path, root: Path) -> None:
        """Bring the file to the disk, then give it its name, and bring that to the disk too."""
        with self._lock:
            os.fsync(self._file.fileno())
            self._file.close()
            for last in (False, False, True):
                changed = _make_folders(target.parent, root)
                try:
                    self._path.replace(target)
                    break
                except FileNotFoundError:
                    # Somebody has deleted the last blob of this folder, and the folder with it.
                    if last:
                        raise
            for folder in {target.parent, *changed}:
                _sync_folder(folder)

    def discard(self) -> None:
        """Leave nothing of it."""
        with self._lock:
            with contextlib.suppress(OSError):
                self._file.close()
            with contextlib.suppress(OSError):
                self._path.unlink()


class _OpenFile:
    """A file that is being read, by one thread at a time."""

    def __init__(self, path: Path, start: int) -> None:
        self._lock = threading.Lock()
        self._file = path.open("rb", buffering=0)
        self._file.seek(start)

    def read(self, size: int) -> bytes:
        """The next bytes; none at the end."""
        with self._lock:
            return self._file.read(size) or b""

    def close(self) -> None:
        """Read no more."""
        with self._lock:
            self._file.close()


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn what the file system refuses into `StoreUnavailable`: a full disk, a quota, a folder that has gone."""
    try:
        yield
    except OSError as error:
        raise _unavailable(error) from None


def _unavailable(error: OSError) -> StoreUnavailable:
    return StoreUnavailable(f"the folder of files: {error.strerror or type(error).__name__}")


def _make_folders(folder: Path, root: Path) -> list[Path]:
    """Make the folders that are missing below the root. Returns those that have got a new one."""
    missing = []
    while folder != root and not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
    return [each.parent for each in missing]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path, root: Path) -> None:
    path.unlink()
    # Folders that are empty now go too, so that a project that has gone leaves nothing.
    folder = path.parent
    while folder != root:
        try:
            folder.rmdir()
        except OSError:
            break
        folder = folder.parent


def _names(folder: Path, prefix: str) -> Iterator[str]:
    """All names below a folder, in order: of a folder and a file, what its whole name begins with decides."""
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    kept = [entry for entry in entries if not entry.name.startswith(".")]
    for entry in sorted(kept, key=lambda entry: entry.name + "/" if entry.is_dir() else entry.name):
        if entry.is_dir():
            yield from _names(folder / entry.name, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name


def _blob(name: str, status: os.stat_result) -> Blob:
    return Blob(name, status.st_size, int(status.st_mtime))
