"""Model files for tests with the real engine."""

from __future__ import annotations

import os
from pathlib import Path

from antiphon.models import catalog, pull
from antiphon.models.catalog import Model
from antiphon.settings.engine import user_models_dir


def entry(name: str) -> Model:
    """A model of the catalog."""
    return catalog.find(name)


def model_path(name: str) -> Path:
    """The file of a model of the catalog, from this machine's cache (pulled if it is not there yet)."""
    return pull.ensure(entry(name), Path(os.environ.get("ANTIPHON_MODELS_DIR") or user_models_dir()))
