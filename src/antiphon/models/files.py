"""Model files on disk: their hash, the stamp that remembers it, and the lock that keeps two pulls apart."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from antiphon.models.progress import Progress


class _Stamp(msgspec.Struct, frozen=True):
    """What a file was when its hash was taken. Another size or time means that it must be hashed again."""

    size: int
    mtime_ns: int
    sha256: str


def sha256_of(path: Path) -> str:
    """The file's SHA-256 in hexadecimal. Raises `OSError`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stamp_path(path: Path) -> Path:
    """Where the stamp of the model file `path` is kept: beside it."""
    return path.with_name(f".{path.name}.verified")


def part_path(path: Path) -> Path:
    """Where the file is put together before it is verified: beside its place, so that the last step is a rename."""
    return path.with_name(f"{path.name}.part")


def work_path(path: Path) -> Path:
    """The directory that keeps what an unfinished pull of `path` has fetched."""
    return path.parent / ".parts" / path.name


def is_verified(path: Path, sha256: str) -> bool:
    """Whether `path` is there and had this SHA-256 when it was last hashed, and has not changed since.

    A look at two small facts instead of hashing half a gigabyte at each start.
    """
    try:
        stamp = msgspec.json.decode(stamp_path(path).read_bytes(), type=_Stamp)
        stat = path.stat()
    except (OSError, msgspec.MsgspecError):
        return False
    return stamp == _Stamp(stat.st_size, stat.st_mtime_ns, sha256)


def mark_verified(path: Path, sha256: str) -> None:
    """Remember that `path` has this SHA-256. Raises `OSError`."""
    stat = path.stat()
    stamp = stamp_path(path)
    fresh = stamp.with_name(f"{stamp.name}.new")
    fresh.write_bytes(msgspec.json.encode(_Stamp(stat.st_size, stat.st_mtime_ns, sha256)))
    fresh.replace(stamp)


def place(part: Path, path: Path) -> None:
    """Move a finished file to its place, so that after a crash either none or the whole file is there."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextlib.contextmanager
def locked(path: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock of the model file `path`; wait for whoever has it. The system frees it with the process."""
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.note(f"another process is busy with {path.name}; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def size_of_tree(directory: Path) -> int:
    """Bytes of all files under `directory`, as far as they can be seen (others may be moving them)."""
    total = 0
    for root, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.stat(os.path.join(root, name), follow_symlinks=False).st_size
    return total
