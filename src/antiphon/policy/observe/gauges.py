"""What is read when somebody asks for it, and not counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from antiphon.domain.route_trace import TargetName


class TargetReport(Protocol):
    """A target as it is now. `breaker`: "closed", "open" or "half_open"."""

    @property
    def target(self) -> TargetName:
        """Which."""

    @property
    def breaker(self) -> str:
        """Its breaker's state."""

    @property
    def outstanding(self) -> int:
        """Calls that it is answering."""

    @property
    def rests(self) -> float:
        """Seconds for which it has asked to be left alone."""


class Gauge(NamedTuple):
    """Something that is read when it is asked for: its name without prefix, what it is, and how it is read.

    One with `labels` gives rows: the labels' values and the figure.
    """

    name: str
    help: str
    read: Callable[[], float | Sequence[tuple[tuple[str, ...], float]]]
    labels: tuple[str, ...] = ()
