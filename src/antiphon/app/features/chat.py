"""Chat Completions."""

from __future__ import annotations

from antiphon.app.core import Core
from antiphon.app.feature import Feature
from antiphon.http import chat as chat_http
from antiphon.run.chat import Chat


def chat(core: Core) -> Feature:
    """The paths of Chat Completions, stored completions included."""
    return Feature(resources=chat_http.resources(Chat(core.store, core.routes, core.pipeline, core.clock)))
