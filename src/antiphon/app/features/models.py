"""The list of models that may be asked for."""

from __future__ import annotations

from antiphon.app.core import Core
from antiphon.app.feature import Feature
from antiphon.http import models as models_http


def models(core: Core) -> Feature:
    """Every route that a caller's project may use, with the date of its shutdown."""
    return Feature(resources=models_http.resources(core.routes, core.shutdowns.route))
