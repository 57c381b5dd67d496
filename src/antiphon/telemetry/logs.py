"""Structured logs: one event with its fields a line, without content and without secrets.

No caller hands a prompt, an answer, a key or a header to the log; an exception is logged by its type and the places it
passed, never with its arguments, which may quote what a client sent.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
Level = Literal["debug", "info", "warning", "error"]


def logger(name: str) -> Any:
    """A logger whose events are named in words and carry their facts as fields."""
    return structlog.get_logger(source=name.removeprefix("antiphon."))


def configure(level: Level = "info", output: Literal["auto", "json", "console"] = "auto") -> None:
    """Set up logging for the process. "auto" is for people on a terminal and JSON everywhere else."""
    as_json = output == "json" or (output == "auto" and not sys.stderr.isatty())
    renderer = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(pad_event_to=28)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_arguments,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    # Libraries speak up only when something is wrong.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")


def _without_arguments(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """An exception as its type and its frames: its message may quote a client's content."""
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    if isinstance(error, BaseException):
        frames = traceback.extract_tb(error.__traceback__)
        event["exception"] = type(error).__name__
        event["at"] = [f"{frame.filename.rpartition('antiphon/')[2]}:{frame.lineno}" for frame in frames[-6:]]
    return event
