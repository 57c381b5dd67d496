"""Settings as options of commands: made from the one declared list, so that no flag can drift from its setting."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from antiphon.settings import load
from antiphon.settings.declared import Declared, declared

_CONFIG = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE", help="Settings file, instead of antiphon.toml.", show_default=False),
]
#: Of every command that lists something.
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def with_settings(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the flags of these settings (and `--config`), and call it with the `Loaded` settings first.

    The other parameters of the command stay what they are. typer reads a command's signature, so that is what is made.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        _, *own = inspect.signature(command, eval_str=True).parameters.values()
        flags = [_parameter(name, _annotation(declared()[name])) for name in names]
        parameters = [
            *(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own),
            *flags,
            _parameter("config", _CONFIG),
        ]

        @functools.wraps(command)
        def run(**given: Any) -> None:
            raw = {name: given.pop(name) for name in (*names, "config")}
            command(load(raw, os.environ, Path.cwd()), **given)

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # how inspect is told
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def _parameter(name: str, annotation: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _annotation(item: Declared) -> object:
    text = f"{item.spec.help}. [{item.default_text}]"
    metavar = item.name.rsplit("_", maxsplit=1)[-1].upper()
    return Annotated[str | None, typer.Option(item.flag, metavar=metavar, help=text, show_default=False)]
