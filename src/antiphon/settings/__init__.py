"""Settings: one declared list, and where each effective value came from (flag, variable, file, or default)."""

from __future__ import annotations

from antiphon.settings.declared import Settings
from antiphon.settings.loading import Loaded, load

__all__ = ["Loaded", "Settings", "load"]
