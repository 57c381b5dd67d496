"""Ending tasks."""

from __future__ import annotations

import asyncio
from typing import Any


async def end(task: asyncio.Future[Any]) -> None:
    """Cancel a task and wait until it is over, however it ends. It may be over already.

    Whoever cancels the caller meanwhile cancels the caller: `suppress(CancelledError)` around `await task` would take
    that cancel for the task's own, and the caller would go on as if nobody had wanted its end.
    """
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # looked at, so that it is not complained of
