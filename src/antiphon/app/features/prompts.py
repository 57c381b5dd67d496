"""Stored prompts with versions and variables."""

from __future__ import annotations

from antiphon.app.core import Core
from antiphon.app.feature import Feature
from antiphon.http import prompts as prompts_http


def prompts(core: Core) -> Feature:
    """The paths of prompts. Responses put them in by themselves."""
    return Feature(resources=prompts_http.resources(core.prompts))
