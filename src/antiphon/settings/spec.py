"""How a setting is declared: `name: Annotated[type, Spec(parser, help)] = default`, in a group of settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from antiphon.settings.parsers import Parser


@dataclass(frozen=True, slots=True)
class Spec:
    """What a setting is. `shown` describes a default that depends on the machine; `mask` hides a secret in print."""

    parse: Parser
    help: str
    shown: str | None = None
    mask: Callable[[str], str] | None = None
