"""`antiphon models`: the catalog, and the files on this machine."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from antiphon.cli.options import AsJson, with_settings
from antiphon.settings import Loaded

if TYPE_CHECKING:
    from antiphon.models.catalog import Model

app = typer.Typer(help="Local models: list, download, remove.", no_args_is_help=True, rich_markup_mode=None)

#: Bytes a second of a line that many have, to say beforehand how long a download takes.
_USUAL_RATE = 10e6
_STATES = {"ready": "here", "unverified": "here, not verified", "partial": "partly here", "absent": "-"}


@app.command("list")
@with_settings("models_dir")
def list_models(
    loaded: Loaded,
    as_json: AsJson = False,
) -> None:
    """List the models that Antiphon knows by name, and which are on this machine."""
    from antiphon.cli.output import table
    from antiphon.models import catalog, pull

    directory = loaded.settings.models_dir
    models = catalog.all_models()
    if as_json:
        typer.echo(json.dumps([_as_dict(model, directory) for model in models], indent=2))
        return
    rows = [
        [
            f"{model.name}{' (default)' if model is catalog.default() else ''}",
            model.megabytes,
            _STATES[pull.state(model, directory)],
            model.licence,
            model.description,
        ]
        for model in models
    ]
    table(["MODEL", "SIZE", "STATE", "LICENCE", "WHAT IT IS"], rows)


@app.command("pull")
@with_settings("models_dir")
def pull_models(
    loaded: Loaded,
    names: Annotated[list[str] | None, typer.Argument(help="Names from the catalog.", show_default=False)] = None,
    default: Annotated[bool, typer.Option("--default", help="The default model (so too without names).")] = False,
) -> None:
    """Download models, verify them, and put them in place. Goes on where an interrupted pull stopped."""
    from antiphon.models import catalog

    wanted = [catalog.find(name) for name in names or ()]
    if default or not wanted:
        wanted.append(catalog.default())
    for model in dict.fromkeys(wanted):
        path = pull_one(model, loaded.settings.models_dir)
        typer.echo(f"{model.name} is here, SHA-256 verified: {path}")


@app.command("rm")
@with_settings("models_dir")
def remove_models(
    loaded: Loaded,
    names: Annotated[list[str], typer.Argument(help="Names from the catalog.")],
) -> None:
    """Remove models' files, and what unfinished pulls have left."""
    from antiphon.models import catalog, pull

    for model in [catalog.find(name) for name in names]:
        gone = pull.remove(model, loaded.settings.models_dir)
        typer.echo(f"{model.name} is removed." if gone else f"{model.name} is not here.")


def pull_one(model: Model, models_dir: Path) -> Path:
    """Make sure of a model's file, telling a person how it goes. Raises `SetupError`."""
    from antiphon.cli.output import DownloadProgress
    from antiphon.models import pull

    progress = DownloadProgress(f"model {model.name}")
    if pull.state(model, models_dir) in ("absent", "partial"):
        seconds = model.bytes / _USUAL_RATE
        progress.note(f"downloading {model.megabytes} to {models_dir} (about {seconds:.0f} s at 10 MB/s)")
    began = time.monotonic()
    try:
        path = pull.ensure(model, models_dir, progress=progress)
    finally:
        progress.close()
    if (took := time.monotonic() - began) > 1:
        progress.note(f"here after {took:.0f} s")
    return path


def _as_dict(model: Model, directory: Path) -> dict[str, object]:
    from antiphon.models import catalog, pull

    return {
        "name": model.name,
        "default": model is catalog.default(),
        "state": pull.state(model, directory),
        "path": str(model.path(directory)),
        "bytes": model.bytes,
        "sha256": model.sha256,
        "licence": model.licence,
        "kind": model.kind,
        "description": model.description,
        "trained_context": model.trained_context,
        "kv_bytes": model.kv_bytes,
    }
