"""Conversations and their items."""

from __future__ import annotations

from antiphon.app.core import Core
from antiphon.app.feature import Feature
from antiphon.http import conversations as conversations_http
from antiphon.run.conversations import Conversations


def conversations(core: Core) -> Feature:
    """The paths of the Conversations API."""
    return Feature(resources=conversations_http.resources(Conversations(core.store, core.clock)))
