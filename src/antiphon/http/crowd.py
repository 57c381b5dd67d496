"""How many connections there may be: by number, and by the files that the process may have open."""

from __future__ import annotations

import asyncio
import resource
import time

from antiphon.domain import limits
from antiphon.telemetry.logs import logger

_log = logger(__name__)


def raise_file_limit() -> int:
    """Let this process open as many files as it is allowed to ask for; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, limits.MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return limits.MAX_OPEN_FILES if soft == resource.RLIM_INFINITY else soft


class Crowd:
    """Admits connections, and turns away those that there is no room for."""

    def __init__(self, most: int = limits.MAX_CONNECTIONS, files: int | None = None) -> None:
        """`most`: open at once. `files`: that the process may have open; some stay free for everything else."""
        self._most = most
        files = files or resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        # Descriptors are given out from the lowest: one that is as high as this says that few are left, for whatever.
        self._highest = files - max(limits.SPARE_FILES_LEAST, min(limits.SPARE_FILES, files // 4))
        self._lingering = 0
        self._unsaid = 0
        self._said_at = -limits.CROWD_LOG_EVERY

    def admits(self, others: int, transport: asyncio.Transport) -> bool:
        """Whether a new connection is served, beside `others`."""
        if others < self._most:
            opened = transport.get_extra_info("socket")
            if opened is None or opened.fileno() < self._highest:
                return True
            reason = "open files"
        else:
            reason = "connections"
        self._tell(reason, others)
        return False

    def _tell(self, reason: str, others: int) -> None:
        self._unsaid += 1
        now = time.monotonic()
        if now - self._said_at >= limits.CROWD_LOG_EVERY:
            _log.warning("connections turned away", limit_of=reason, count=self._unsaid, open=others)
            self._unsaid, self._said_at = 0, now

    def may_linger(self) -> bool:
        """Whether a connection that is turned away may stay until its client has taken the answer; then `left`."""
        if self._lingering >= limits.MAX_LINGERING:
            return False
        self._lingering += 1
        return True

    def left(self) -> None:
        """One that lingered has gone."""
        self._lingering -= 1
