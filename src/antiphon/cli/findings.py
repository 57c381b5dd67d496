"""What a check of `antiphon doctor` comes back with."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class State(enum.StrEnum):
    """How a check ended. Only FAIL keeps the server from working."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `advice` says what to do; empty when there is nothing to."""

    state: State
    subject: str
    text: str
    advice: str = ""
