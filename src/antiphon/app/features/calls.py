"""The end of calls: those that are over when the server stops are told of before it has stopped."""

from __future__ import annotations

from antiphon.app.core import Core
from antiphon.app.feature import Feature
from antiphon.app.services import ShutdownHook


def calls(core: Core) -> Feature:
    """Stands after the features that write down what they are told of calls, and before those that may end calls."""
    return Feature(services={"calls": ShutdownHook(core.pipeline.settle)})
