"""What is wrong outside of this program (files, directories, permissions, encodings) is told in one line."""

from __future__ import annotations

import contextlib
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from antiphon.domain.errors import SetupError
from antiphon.stores.sqlite import SqliteDriver
from model_files import gguf
from support.commands import run_command
from support.permissions import bound
from support.real import environment, run_program


@contextlib.contextmanager
def forbidden(path: Path, mode: int) -> Iterator[None]:
    """A file or directory with another mode, until the block is left: pytest must be able to remove it."""
    before = stat.S_IMODE(path.stat().st_mode)
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(before)


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit code 1, and one line that says what it is about."""
    assert done.returncode == 1, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("antiphon: ")
    for word in words:
        assert word in lines[0], lines[0]


def serving(folder: Path, model: Path, *options: str) -> list[str]:
    return ["serve", "--data-dir", str(folder), "--model", str(model), "--port", "0", *options]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Good enough to be looked at; it is never loaded here."""
    path = tmp_path / "own.gguf"
    path.write_bytes(gguf({"general.architecture": "llama"}))
    return path


@pytest.mark.parametrize(
    ("mode", "words"),
    [(0o500, ["data", "cannot be used", "server.lock", "Permission denied"]), (0o000, ["antiphon.toml", "Permission"])],
    ids=["read-only", "closed"],
)
def test_a_data_directory_that_may_not_be_used(tmp_path: Path, model: Path, mode: int, words: list[str]) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    with forbidden(data, mode):
        refused(run_program(*serving(data, model), preexec_fn=bound(), env=environment()), *words)


def test_a_database_that_may_not_be_written(tmp_path: Path) -> None:
    data = tmp_path / "data"
    keys = run_command("keys", "create", "--data-dir", str(data), "--name", "x", env={}, cwd=tmp_path)
    assert keys.returncode == 0, keys.stderr
    with forbidden(data / "antiphon.db", 0o400):
        again = run_program("keys", "list", "--data-dir", str(data), preexec_fn=bound())
    refused(again, "antiphon.db", "check its permissions")


def test_a_models_directory_that_may_not_be_used(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    with forbidden(models, 0o000):
        refused(run_program("models", "list", "--models-dir", str(models), preexec_fn=bound()), str(models))
    (tmp_path / "file").touch()
    pull = ("models", "pull", "smollm2-135m", "--models-dir", str(tmp_path / "file"))
    done = run_command(*pull, env={}, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("it is not a directory.")


def test_a_data_directory_that_is_a_file(tmp_path: Path, model: Path) -> None:
    (tmp_path / "file").touch()
    refused(run_command(*serving(tmp_path / "file", model), env={}, cwd=tmp_path), "it is not a directory")
    refused(run_command(*serving(tmp_path / "file" / "x", model), env={}, cwd=tmp_path), "Not a directory")


def test_a_settings_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_bytes(b'host = "\xff"')
    refused(run_command("config", "--config", "bad.toml", env={}, cwd=tmp_path), "bad.toml", "not valid TOML")
    (tmp_path / "folder.toml").mkdir()
    refused(run_command("config", "--config", "folder.toml", env={}, cwd=tmp_path), "folder.toml")
    (tmp_path / "antiphon.toml").touch()
    with forbidden(tmp_path / "antiphon.toml", 0o000):
        refused(run_program("config", cwd=tmp_path, preexec_fn=bound()), "antiphon.toml", "Permission denied")


def test_a_port_that_is_taken(tmp_path: Path, model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run_program("serve", "--data-dir", str(tmp_path / "d"), "--model", str(model), "--port", port)
    refused(done, f"Cannot listen on 127.0.0.1:{port}", "choose another port with --port")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_our_characters(tmp_path: Path, encoding: str) -> None:
    """Hints of keys have an ellipsis, and bars have blocks."""
    data = ("--data-dir", str(tmp_path / "data"))
    run_command("keys", "create", *data, "--name", "x", env={}, cwd=tmp_path)
    done = run_program("keys", "list", *data, env=environment(PYTHONIOENCODING=encoding))
    assert done.returncode == 0, done.stderr
    assert "sk-antiphon-" in done.stdout


def test_what_nobody_has_foreseen_is_told_without_a_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "/some/file")

    monkeypatch.setattr("antiphon.datadir.DataDir.secret", full)
    done = run_command("keys", "create", "--data-dir", str(tmp_path / "d"), "--name", "x", env={}, cwd=tmp_path)
    refused(done, "/some/file: No space left on device")


def test_the_store_says_so_itself(tmp_path: Path) -> None:
    (tmp_path / "a.db").mkdir()
    with pytest.raises(SetupError):
        SqliteDriver(tmp_path / "a.db").prepare()
