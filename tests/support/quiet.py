"""What servers in this process log is kept for the report of a failure, and not printed between pytest's dots.

A server in a thread logs whenever it likes, also between two tests, when pytest captures nothing.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import structlog

_KEPT = 60
_last: deque[str] = deque(maxlen=_KEPT)


def _keep(_: Any, __: str, event: Any) -> Any:
    _last.append(" ".join(f"{name}={value}" for name, value in event.items() if name != "exc_info"))
    raise structlog.DropEvent


def quiet() -> None:
    """From now on, what is logged is only kept. For the start, and for who has changed where logs go."""
    structlog.configure(processors=[structlog.processors.add_log_level, structlog.processors.format_exc_info, _keep])


def last_lines() -> str:
    """The last lines that were logged, taken away."""
    text = "\n".join(_last)
    _last.clear()
    return text
