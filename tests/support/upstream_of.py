"""Settings for a server whose upstream is another server of the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from antiphon.settings import gateway
from support.serving import Serving


def upstream(served: Serving, path: Path, **more: Any) -> dict[str, Any]:
    """That server as the table of an upstream. Its key is put into a file at `path`."""
    path.write_text(served.key)
    return {"kind": "chat", "url": served.base_url, "secret": {"file": str(path)}, **more}


def tables(
    upstreams: dict[str, Any], routes: dict[str, Any], projects: dict[str, Any] | None = None, model: str = "none"
) -> dict[str, Any]:
    """The settings that these tables make, checked as at a start."""
    made: dict[str, Any] = {
        "upstreams": gateway.upstreams(upstreams),
        "routes": gateway.routes(routes),
        "project_routes": gateway.project_routes(projects or {}),
        "model": model,
    }
    gateway.check(model, made["upstreams"], made["routes"], made["project_routes"])
    return made
