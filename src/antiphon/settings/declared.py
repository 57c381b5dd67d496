"""Every setting: its name, type, default, and what it is for.

Each is declared once, in a group of settings: the dataclasses that `Settings` inherits from. The flags of
`antiphon serve`, the `ANTIPHON_*` variables, the keys of `antiphon.toml` and the page `docs/guide/settings.md` all
follow from that. A feature with settings of its own has a group in this package, and a line in `Settings`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import get_type_hints

from antiphon.settings.engine import EngineSettings
from antiphon.settings.network import NetworkSettings
from antiphon.settings.observability import ObservabilitySettings
from antiphon.settings.routing import RoutingSettings
from antiphon.settings.spec import Spec
from antiphon.settings.storage import StorageSettings


@dataclass(frozen=True, kw_only=True)
class Settings(NetworkSettings, StorageSettings, EngineSettings, RoutingSettings, ObservabilitySettings):
    """The effective settings. Sizes are in bytes unless the name says otherwise, waits in seconds."""


@dataclass(frozen=True, slots=True)
class Declared:
    """One setting as it was declared: `name` is the key in TOML; the flag and the variable follow from it."""

    name: str
    spec: Spec
    default: object

    @property
    def flag(self) -> str:
        """Such as `--data-dir`."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """Such as `ANTIPHON_DATA_DIR`."""
        return f"ANTIPHON_{self.name.upper()}"

    @property
    def default_text(self) -> str:
        """The default as documentation shows it."""
        return self.spec.shown or str(self.default)

    def show(self, value: object) -> str:
        """A value as it may be printed: secrets masked, lists and tables as a flag would take them."""
        if value is None:
            return f"({self.default_text})"
        if isinstance(value, tuple):
            return ",".join(map(str, value))
        if isinstance(value, Mapping):
            return ",".join(f"{name}={self._shown(target)}" for name, target in value.items())
        return self.spec.mask(str(value)) if self.spec.mask else str(value)

    def _shown(self, value: object) -> str:
        return f"({self.show(value)})" if isinstance(value, Mapping) else str(value)


@cache
def declared(of: type[Settings] = Settings) -> Mapping[str, Declared]:
    """Every setting by name, group by group, in the order in which groups are inherited and settings declared."""
    hints = get_type_hints(of, include_extras=True)
    found = {item.name: item for item in fields(of)}
    names = [name for group in of.__mro__ for name in inspect.get_annotations(group) if name in found]
    return {name: Declared(name, hints[name].__metadata__[0], found[name].default) for name in names}
