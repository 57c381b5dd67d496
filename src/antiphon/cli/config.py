"""`antiphon config`: the effective settings, and where each came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path

import typer

from antiphon.cli.options import AsJson, with_settings
from antiphon.settings import Loaded
from antiphon.settings.declared import declared


@with_settings(*declared())
def config(
    loaded: Loaded,
    as_json: AsJson = False,
) -> None:
    """Show the effective settings and where each came from. Passwords are masked."""
    from antiphon.cli.output import table  # here, because `--help` does not need it

    if as_json:
        typer.echo(json.dumps(_as_dict(loaded), indent=2))
        return
    rows = [
        [name, item.show(getattr(loaded.settings, name)), loaded.sources[name]] for name, item in declared().items()
    ]
    table(["SETTING", "VALUE", "FROM"], rows)


def _as_dict(loaded: Loaded) -> dict[str, object]:
    """Each setting's value and source; values keep their JSON types."""
    return {
        "file": str(loaded.config_file) if loaded.config_file else None,
        "settings": {
            name: {"value": _value(name, getattr(loaded.settings, name)), "source": loaded.sources[name]}
            for name in declared()
        },
    }


def _value(name: str, value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _value(name, item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _value(name, getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, tuple):
        return [_value(name, item) for item in value]
    return declared()[name].show(value) if isinstance(value, str | Path) else value
