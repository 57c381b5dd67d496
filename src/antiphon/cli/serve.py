"""`antiphon serve`: settle the settings, make sure of the model, and hand over to the server."""

from __future__ import annotations

import typer

from antiphon.cli.options import with_settings
from antiphon.settings import Loaded
from antiphon.settings.declared import declared
from antiphon.settings.gateway import NO_MODEL


@with_settings(*declared())
def serve(loaded: Loaded) -> None:
    """Serve the OpenAI API until Ctrl-C. The model is downloaded first if it is not here."""
    # Here, because no other command needs them.
    from antiphon.app import serve as run_server
    from antiphon.cli.models import pull_one
    from antiphon.datadir import DataDir
    from antiphon.models.resolve import resolve

    settings = loaded.settings
    data_dir = DataDir(settings.data_dir)
    model = None if settings.model == NO_MODEL else resolve(settings.model, settings.models_dir)
    if model is not None and model.entry is not None:
        pull_one(model.entry, settings.models_dir)
    raise typer.Exit(run_server(loaded, data_dir, model))
