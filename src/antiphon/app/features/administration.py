"""The organisation: its projects, keys, users, invites and audit log; and the sessions of browsers."""

from __future__ import annotations

from antiphon.app.core import Core
from antiphon.app.feature import Feature
from antiphon.http import admin


def administration(core: Core) -> Feature:
    """The paths of the administration, and who has used which key when."""
    return Feature(
        resources=[*admin.resources(core.store, core.clock, core.secret), *core.sessions.resources()],
        services={"last_used": core.last_used},
    )
