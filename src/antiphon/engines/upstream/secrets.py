"""Secrets of upstreams: from the environment or a file, never from a request, and never shown."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from antiphon.domain import limits
from antiphon.domain.errors import SetupError
from antiphon.domain.routing import Secret

#: What tells a file from the one it was: (inode, size, time of change in ns).
_Mark = tuple[int, int, int]


class SecretSource:
    """One upstream's secret. A file is read again when it has changed, so that a secret can be rotated."""

    def __init__(
        self,
        upstream: str,
        secret: Secret | None,
        *,
        environment: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Reads the secret. Raises `SetupError` naming the variable or the file, if there is none."""
        self._upstream = upstream
        self._secret = secret
        self._environment = environment
        self._clock = clock
        self._mark: _Mark | None = None
        self._looked = clock()
        self._value = self._read()

    def __repr__(self) -> str:
        return f"SecretSource({self._upstream!r})"

    @property
    def value(self) -> str | None:
        """The secret as it is now; None for an upstream that wants none. Looks at its file once a second at most."""
        if self._secret is not None and self._secret.file is not None:
            now = self._clock()
            if now - self._looked >= limits.UPSTREAM_SECRET_CHECK:
                self._looked = now
                if _mark(self._secret.file) != self._mark:
                    self.refresh()
        return self._value

    def refresh(self) -> bool:
        """Read it again, as after a refusal; True if it is another one now. One that is gone is kept as it was."""
        old = self._value
        try:
            self._value = self._read()
        except SetupError:
            return False
        return self._value != old

    def _read(self) -> str | None:
        secret = self._secret
        if secret is None:
            return None
        if secret.env is not None:
            what = f"the environment variable {secret.env}"
            text = self._environment.get(secret.env)
            if text is None:
                raise SetupError(f"Upstream '{self._upstream}': {what} is not set. Set it to the upstream's secret.")
        else:
            assert secret.file is not None
            what = f"the file {secret.file}"
            text = self._read_file(secret.file, what)
        text = text.strip()
        if not text:
            raise SetupError(f"Upstream '{self._upstream}': {what} is empty. It must hold the upstream's secret.")
        # Anything else could end the header it is sent in.
        if not all("!" <= character <= "~" for character in text):
            raise SetupError(f"Upstream '{self._upstream}': {what} does not hold a secret of visible ASCII characters.")
        return text

    def _read_file(self, path: Path, what: str) -> str:
        try:
            self._mark = _mark(path)
            with path.open("rb") as file:
                data = file.read(limits.MAX_UPSTREAM_SECRET + 1)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise SetupError(f"Upstream '{self._upstream}': {what} cannot be read: {reason}.") from None
        if len(data) > limits.MAX_UPSTREAM_SECRET:
            raise SetupError(f"Upstream '{self._upstream}': {what} is too large for a secret.")
        return data.decode("utf-8", "replace")


def _mark(path: Path) -> _Mark | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
