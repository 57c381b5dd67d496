"""How long a background response that was refused for the moment waits before it is tried again, and how often."""

from __future__ import annotations

from antiphon.domain import limits
from antiphon.domain.chance import random
from antiphon.domain.errors import AntiphonError, EngineUnavailable, NeverFits, Overloaded, RateLimited


def pause_after(error: AntiphonError, waited: float) -> float | None:
    """Seconds to wait after this refusal, of a response that has waited for `waited` seconds in all.

    None: it is not to be tried again, since waiting does not help, or has taken too long.
    """
    if isinstance(error, NeverFits) or not isinstance(error, Overloaded | RateLimited | EngineUnavailable):
        return None
    longest = limits.MAX_BACKGROUND_OUTAGE if isinstance(error, EngineUnavailable) else limits.MAX_BACKGROUND_WAIT
    if waited >= longest:
        return None
    most = limits.BACKGROUND_PAUSE_BUSY if isinstance(error, Overloaded) else limits.BACKGROUND_PAUSE_LIMITED
    grown = min(max(limits.BACKGROUND_PAUSE, waited / 2), most)
    # What a server asks for may be a lie, or a year.
    asked = min(float(error.retry_after or 0), limits.MAX_BACKGROUND_PAUSE)
    return max(grown, asked) * (1 + limits.BACKGROUND_JITTER * random())
