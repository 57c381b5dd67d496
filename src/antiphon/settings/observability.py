"""Settings of metrics, ledger and log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from antiphon.domain import limits
from antiphon.settings import parsers
from antiphon.settings.spec import Spec


@dataclass(frozen=True, kw_only=True)
class ObservabilitySettings:
    """What is to be seen of the server from outside, and for how long."""

    metrics: Annotated[
        Literal["local", "admin", "open", "off"],
        Spec(
            parsers.one_of("local", "admin", "open", "off"),
            "Who may read /metrics: this machine (others with an admin key), holders of an admin key, anybody, nobody",
        ),
    ] = "local"
    ledger_days: Annotated[
        int, Spec(parsers.integer(1, 36_500), "Days that the ledger keeps what each call used and cost")
    ] = limits.LEDGER_DAYS
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Spec(parsers.one_of("debug", "info", "warning", "error"), "Least level that is logged"),
    ] = "info"
    log_format: Annotated[
        Literal["auto", "json", "console"],
        Spec(parsers.one_of("auto", "json", "console"), "Form of the log; auto is console on a terminal"),
    ] = "auto"
