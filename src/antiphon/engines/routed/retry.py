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
    UpstreamFailed,
)

_TRIED_ELSEWHERE = (UpstreamFailed, DeadlineExceeded, Overloaded, EngineUnavailable, EngineFailed, RateLimited)
#: What the same target would only do again: it took too long, it refuses us, or it asked to be left alone.
_NOT_AGAIN = (DeadlineExceeded, RateLimited)


class RetryBudget:
    """Retries of one route: each call pays for a share of one, so that retries stay a share of the load."""

    def __init__(self, now: float) -> None:
        """`now` and all times: monotonic seconds."""
        self._saved = limits.RETRY_SAVINGS
        self._at = now

    @property
    def saved(self) -> float:
        """Retries that may be made now, as of the last call."""
        return self._saved

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


def helps_elsewhere(error: BaseException) -> bool:
    """Whether another target may do better. Never after a mistake of the client's."""
    if isinstance(error, OutputInvalid | ShuttingDown):
        return False
    marked = getattr(error, "retryable", None)
    if isinstance(error, UpstreamFailed) or marked:
        return True
    return marked is not False and isinstance(error, _TRIED_ELSEWHERE)


def helps_again(error: AntiphonError) -> bool:
    """Whether the same target may do better after a while."""
    if not helps_elsewhere(error) or isinstance(error, _NOT_AGAIN) or error.code == "upstream_refused":
        return False
    return getattr(error, "retryable", None) is not False


def blames_target(error: BaseException) -> bool:
    """Whether the error says that the target is broken, and not merely busy or asked for nonsense."""
    return helps_elsewhere(error) and not isinstance(error, RateLimited)


def rest(error: AntiphonError) -> float:
    """Seconds that the target wants to be left alone for; 0 if it has not said so."""
    if not isinstance(error, RateLimited | Overloaded | EngineUnavailable | UpstreamFailed):
        return 0.0
    return float(min(error.retry_after or 0, limits.RETRY_AFTER_MAX))


def backoff(tries: int, chance: Callable[[], float]) -> float:
    """Seconds to wait before a target is tried again after `tries` tries: full jitter, so that clients spread."""
    ceiling = min(limits.RETRY_BACKOFF_MAX, limits.RETRY_BACKOFF * 2.0 ** min(tries - 1, 16))
    return chance() * ceiling
