"""The data directory: everything an installation keeps, readable by its owner only."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import msgspec

from antiphon.domain.errors import SetupError

_SECRET_BYTES = 32
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
#: By any of these a directory is known to be ours.
_OURS = frozenset(
    {"antiphon.db", "antiphon.toml", "backups", "secret.key", "default.key", "server.json", "server.lock"}
)


class ServerInfo(msgspec.Struct, frozen=True):
    """Where the running server listens. `host` is the address it is bound to."""

    pid: int
    host: str
    port: int


class DataDir:
    """One data directory."""

    def __init__(self, path: Path, *, create: bool = True) -> None:
        """Make the directory with mode 0700, or take the one that is there. `create=False`: only look, touch nothing.

        Raises `SetupError` if it cannot be used, or not safely.
        """
        self.path = path
        if not create:
            return
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._tighten()
        except OSError as error:
            reason = "it is not a directory" if isinstance(error, FileExistsError) else error.strerror or error
            raise SetupError(f"The data directory {path} cannot be used: {reason}.") from error

    @property
    def database(self) -> Path:
        """The SQLite database's file."""
        return self.path / "antiphon.db"

    @property
    def backups(self) -> Path:
        """Copies of the database, made before its schema changes."""
        return self.path / "backups"

    @property
    def config(self) -> Path:
        """The settings that go with this directory."""
        return self.path / "antiphon.toml"

    @property
    def secret_file(self) -> Path:
        """Holds the server's secret."""
        return self.path / "secret.key"

    @property
    def default_key_file(self) -> Path:
        """Holds the first key, in clear, for `antiphon env`."""
        return self.path / "default.key"

    @property
    def admin_key_file(self) -> Path:
        """Holds an admin key, in clear, for `antiphon env --admin`; if one was asked to be kept."""
        return self.path / "admin.key"

    def secret(self) -> bytes:
        """The server's secret, 32 random bytes, made at the first call. Stored keys are worthless without it.

        Raises `SetupError` if the file cannot be read or does not hold such a secret.
        """
        try:
            if not self.secret_file.exists():
                self._write_once(self.secret_file, os.urandom(_SECRET_BYTES))
            secret = self.secret_file.read_bytes()
        except OSError as error:
            raise SetupError(f"{self.secret_file} cannot be used: {error.strerror or error}.") from error
        if len(secret) != _SECRET_BYTES:
            raise SetupError(
                f"{self.secret_file} is damaged: it must hold {_SECRET_BYTES} bytes. Put it back from a backup; "
                "if there is none, remove it, and make new keys with 'antiphon keys create'."
            )
        return secret

    def default_key(self) -> str | None:
        """The first key in clear, or None if it is not kept here. Raises `SetupError` if it cannot be read."""
        return _kept(self.default_key_file)

    def write_default_key(self, key: str) -> None:
        """Keep the first key for `antiphon env`, with mode 0600. Raises `SetupError`."""
        self._keep(self.default_key_file, key)

    def forget_default_key(self) -> None:
        """Remove the first key's copy: it no longer opens anything. Raises `OSError`."""
        self.default_key_file.unlink(missing_ok=True)

    def admin_key(self) -> str | None:
        """The admin key that is kept here in clear, or None. Raises `SetupError` if it cannot be read."""
        return _kept(self.admin_key_file)

    def write_admin_key(self, key: str) -> None:
        """Keep an admin key for `antiphon env --admin`, with mode 0600. Raises `SetupError`."""
        self._keep(self.admin_key_file, key)

    def forget_admin_key(self) -> None:
        """Remove the admin key's copy. Raises `OSError`."""
        self.admin_key_file.unlink(missing_ok=True)

    def _keep(self, path: Path, key: str) -> None:
        try:
            self._replace(path, f"{key}\n".encode("ascii"))
        except OSError as error:
            raise SetupError(f"{path} cannot be written: {error.strerror or error}.") from error

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the directory for one server. Raises `SetupError` naming the process that has it already.

        The system frees the lock with the process, however it ends, so there is never a stale one to remove.
        """
        with self._open_lock() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                file.truncate(0)
                file.write(str(os.getpid()))
                file.flush()
            except BlockingIOError:
                raise SetupError(
                    f"Another Antiphon (process {file.read().strip() or 'unknown'}) is using {self.path}. "
                    "Stop it, or choose another directory with --data-dir."
                ) from None
            except OSError as error:
                raise self._unusable(error) from error
            yield

    def _open_lock(self) -> TextIO:
        try:
            return os.fdopen(os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o600), "r+")
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> SetupError:
        return SetupError(
            f"The data directory {self.path} cannot be used: {error.filename or self._lock_file}: "
            f"{error.strerror or error}. Check its permissions and the disk, or choose another one with --data-dir."
        )

    def write_server(self, info: ServerInfo) -> None:
        """Tell other commands where the server listens. For the holder of the lock. Raises `OSError`."""
        self._replace(self._server_file, msgspec.json.encode(info))

    def remove_server(self) -> None:
        """Take back `write_server`."""
        self._server_file.unlink(missing_ok=True)

    def running(self) -> ServerInfo | None:
        """Where this directory's server listens, or None if none is running (what a crash left does not count)."""
        try:
            if self._lock_is_free():
                return None
            return msgspec.json.decode(self._server_file.read_bytes(), type=ServerInfo)
        except (OSError, msgspec.MsgspecError):
            return None

    @property
    def _lock_file(self) -> Path:
        return self.path / "server.lock"

    @property
    def _server_file(self) -> Path:
        return self.path / "server.json"

    def _lock_is_free(self) -> bool:
        """Whether no process holds `lock`. Raises `OSError` if there never was one."""
        with self._lock_file.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    def _tighten(self) -> None:
        """Take the directory from group and others; but not one that evidently is something else than ours."""
        mode = self.path.stat().st_mode
        if not mode & _OTHERS:
            return
        names = {entry.name for entry in os.scandir(self.path)}
        if names and not names & _OURS:
            raise SetupError(
                f"{self.path} is open to other users of this machine and holds other files. Choose another directory "
                f"with --data-dir, or, if this is the right one, run: chmod 700 {self.path}"
            )
        self.path.chmod(stat.S_IMODE(mode) & ~_OTHERS)

    def _replace(self, path: Path, data: bytes) -> None:
        """Write a private file so that it is there wholly or not at all."""
        fresh = self._fresh(data)
        fresh.replace(path)

    def _write_once(self, path: Path, data: bytes) -> None:
        """Write a private file unless it is there: of two that try at once one wins, and both use its file."""
        fresh = self._fresh(data)
        try:
            with contextlib.suppress(FileExistsError):
                os.link(fresh, path)
        finally:
            fresh.unlink()

    def _fresh(self, data: bytes) -> Path:
        """A new private file (mode 0600, as mkstemp makes them) with this content on disk."""
        descriptor, name = tempfile.mkstemp(prefix=".new-", dir=self.path)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return Path(name)


def _kept(path: Path) -> str | None:
    """The key in a file; None if there is no such file."""
    try:
        return path.read_text("ascii").strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"{path} cannot be read.") from error
