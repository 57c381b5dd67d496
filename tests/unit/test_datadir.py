"""The data directory: private, its secret made once, one server at a time."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from antiphon.datadir import DataDir, ServerInfo
from antiphon.domain.errors import SetupError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_made_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        data_dir = DataDir(tmp_path / "a" / "b")
        data_dir.secret()
        data_dir.write_default_key("sk-antiphon-x")
        with data_dir.lock():
            data_dir.write_server(ServerInfo(1, "127.0.0.1", 2))
    finally:
        os.umask(before)
    assert mode(data_dir.path) == 0o700
    assert {path.name: mode(path) for path in data_dir.path.iterdir()} == dict.fromkeys(
        ("secret.key", "default.key", "server.json", "server.lock"), 0o600
    )


def test_looking_makes_nothing(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path / "none", create=False)
    assert data_dir.running() is None
    assert data_dir.default_key() is None
    assert not data_dir.path.exists()


def test_an_open_directory_of_ours_is_closed(tmp_path: Path) -> None:
    for name in (None, "antiphon.db"):
        path = tmp_path / f"open-{name}"
        path.mkdir(mode=0o755)
        if name:
            (path / name).touch()
        DataDir(path)
        assert mode(path) == 0o700


def test_an_open_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "documents"
    path.mkdir(mode=0o755)
    (path / "letter.txt").touch()
    with pytest.raises(SetupError, match="chmod 700"):
        DataDir(path)
    assert mode(path) == 0o755


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match="cannot be used"):
        DataDir(tmp_path / "file")


def test_the_secret_is_made_once(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path / "d")
    secret = data_dir.secret()
    assert len(secret) == 32
    assert data_dir.secret() == DataDir(data_dir.path).secret() == secret
    assert [path.name for path in data_dir.path.iterdir()] == ["secret.key"]


def test_of_many_that_make_the_secret_at_once_all_get_the_same(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path / "d")
    with ThreadPoolExecutor(16) as threads:
        assert len(set(threads.map(lambda _: data_dir.secret(), range(64)))) == 1


def test_a_damaged_secret_is_refused_not_replaced(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path / "d")
    data_dir.secret_file.write_bytes(b"short")
    with pytest.raises(SetupError, match="damaged"):
        data_dir.secret()
    assert data_dir.secret_file.read_bytes() == b"short"


def test_the_default_key(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path / "d")
    assert data_dir.default_key() is None
    data_dir.write_default_key("sk-antiphon-one")
    data_dir.write_default_key("sk-antiphon-two")
    assert data_dir.default_key() == "sk-antiphon-two"
    data_dir.forget_default_key()
    data_dir.forget_default_key()
    assert data_dir.default_key() is None


HOLDER = """
import sys
from pathlib import Path
from antiphon.datadir import DataDir, ServerInfo
data_dir = DataDir(Path(sys.argv[1]))
with data_dir.lock():
    data_dir.write_server(ServerInfo(1, "127.0.0.1", 4711))
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_server_at_a_time_and_a_crash_frees_it(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path / "d")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(data_dir.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert data_dir.running() == ServerInfo(1, "127.0.0.1", 4711)
        with pytest.raises(SetupError, match=f"process {holder.pid}\\) is using"), data_dir.lock():
            pass
        holder.kill()
    assert data_dir.running() is None  # server.json is still there, and does not count
    with data_dir.lock():
        pass


def test_what_the_server_wrote_is_taken_back(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path / "d")
    with data_dir.lock():
        data_dir.write_server(ServerInfo(os.getpid(), "::1", 1))
        assert data_dir.running() == ServerInfo(os.getpid(), "::1", 1)
        data_dir.remove_server()
        assert data_dir.running() is None
