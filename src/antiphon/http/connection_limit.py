"""How many client connections may be open: a limit by number, and one by the process' file descriptors."""

from __future__ import annotations

import asyncio
import resource
import time

from antiphon.domain import limits
from antiphon.telemetry.logs import logger

_log = logger(__name__)


def raise_file_limit() -> int:
    """Raise the soft limit of open files as far as the hard limit allows; returns the limit that then holds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, limits.MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return limits.MAX_OPEN_FILES if soft == resource.RLIM_INFINITY else soft


class ConnectionLimit:
    """Decides whether a new connection is served or refused."""

    def __init__(self, max_connections: int = limits.MAX_CONNECTIONS, files: int | None = None) -> None:
        """`max_connections`: open at once. `files`: file descriptors that this process may have open (default: the
        process' own limit). Some descriptors stay reserved for the database, upstreams and children.
        """
        self._max_connections = max_connections
        files = files or resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        # The kernel gives out the lowest free descriptor: one as high as this means that nearly all are in use.
        self._first_reserved = files - max(limits.SPARE_FILES_LEAST, min(limits.SPARE_FILES, files // 4))
        self._lingering = 0
        self._unlogged = 0
        self._logged_at = -limits.REFUSED_CONNECTIONS_LOG_EVERY

    def admits(self, open_connections: int, transport: asyncio.Transport) -> bool:
        """Whether a new connection is served. `open_connections`: those that are open beside it."""
        if open_connections < self._max_connections:
            accepted = transport.get_extra_info("socket")
            if accepted is None or accepted.fileno() < self._first_reserved:
                return True
            reason = "open files"
        else:
            reason = "connections"
        self._log_refusal(reason, open_connections)
        return False

    def _log_refusal(self, reason: str, open_connections: int) -> None:
        self._unlogged += 1
        now = time.monotonic()
        if now - self._logged_at >= limits.REFUSED_CONNECTIONS_LOG_EVERY:
            _log.warning("connections turned away", limit_of=reason, count=self._unlogged, open=open_connections)
            self._unlogged, self._logged_at = 0, now

    def may_linger(self) -> bool:
        """Whether a refused connection may stay open until its client has read the answer. Afterwards the caller calls
        `lingering_ended`.
        """
        if self._lingering >= limits.MAX_LINGERING:
            return False
        self._lingering += 1
        return True

    def lingering_ended(self) -> None:
        """A refused connection that was allowed to linger has closed."""
        self._lingering -= 1
