"""What a server does again and again, whatever goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError


async def for_ever(habit: Callable[[], Coroutine[Any, Any, None]], log: Any) -> None:
    """Do something until cancelled; a fault of the database must not be the end of it."""
    while True:
        try:
            await habit()
        except AntiphonError as error:
            log.warning("background work was held up", reason=error.message)
            await asyncio.sleep(limits.CLAIM_TICK)
        except Exception as error:
            log.exception("background work failed", error=type(error).__name__)
            await asyncio.sleep(limits.CLAIM_TICK)
