"""When a call is tried again: what may be, how long to wait before it, and how much of it there may be.

No I/O: time and chance are given.
"""

from __future__ import annotations

from collections.abc import Callable

from antiphon.domain import limits
from antiphon.domain.errors import (
    AntiphonError,
    DeadlineExceeded,
    EngineFailed,
    EngineUnavailable,
    OutputInvalid,
    Overloaded,
    RateLimited,
    ShuttingDown,
    UpstreamBroken,
    UpstreamFailed,
)
from antiphon.engines.upstream import errors
from antiphon.engines.upstream.errors import Retry

#: Codes of answers that are not what they must be.
_NONSENSE = frozenset({"upstream_invalid", "upstream_truncated"})


class RetryBudget:
    """Retries of one route: each call pays for a share of one, so that retries stay a share of the load."""

    def __init__(self, now: float) -> None:
        """`now` and all times: monotonic seconds."""
        self._saved = limits.RETRY_SAVINGS
        self._at = now

    def called(self, now: float) -> None:
        """A call came in."""
        earned = limits.RETRY_SHARE + max(0.0, now - self._at) * limits.RETRY_TRICKLE
        self._at = now
        self._saved = min(limits.RETRY_SAVINGS, self._saved + earned)

    def take(self) -> bool:
        """Whether one more retry may be made; it is paid for then."""
        if self._saved < 1.0:
            return False
        self._saved -= 1.0
        return True


def retry(error: AntiphonError) -> Retry:
    """Whether what an engine raised can be asked for again, and of which target: see `errors.Retry`."""
    if isinstance(error, ShuttingDown):
        return "never"
    # The built-in engine has broken: it starts again by itself. An answer that does not fit was asked for often enough.
    if isinstance(error, EngineFailed) and not isinstance(error, OutputInvalid):
        return "same"
    return errors.retry(error)


def blames_target(error: AntiphonError, *, answering: bool = False) -> bool:
    """Whether the error says that the target is broken, and not that it is busy, or was asked for nonsense.

    An answer that makes no sense, or does not fit, may be the fault of what was asked: one client that asks for it
    again and again must not make the target unavailable for all others. Once a target is `answering`, only that it is
    cut off, or late, counts: an error that it reports of one answer says nothing of the next.
    """
    if retry(error) in {"never", "at once"} or isinstance(error, RateLimited | OutputInvalid) or error.status < 500:
        return False
    if answering:
        return isinstance(error, UpstreamBroken | DeadlineExceeded | EngineFailed | EngineUnavailable)
    return error.code not in _NONSENSE


def malformed(error: AntiphonError) -> bool:
    """Whether the target has answered, and nothing can be told from how."""
    return isinstance(error, UpstreamFailed | Overloaded | OutputInvalid) and not blames_target(error, answering=True)


def rest(error: AntiphonError) -> float:
    """Seconds that the target wants to be left alone for; 0 if it has not said so."""
    # A wait that an error's class suggests to clients is no word of the target's; but for a rate limit it must do.
    wait = error.retry_after if isinstance(error, RateLimited) else vars(error).get("retry_after")
    return float(min(wait or 0, limits.RETRY_AFTER_MAX)) if retry(error) != "never" else 0.0


def backoff(tries: int, chance: Callable[[], float]) -> float:
    """Seconds to wait before a target is tried again after `tries` tries: full jitter, so that callers spread."""
    ceiling = min(limits.RETRY_BACKOFF_MAX, limits.RETRY_BACKOFF * 2.0 ** min(tries - 1, 16))
    return chance() * ceiling
