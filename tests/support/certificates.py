"""HTTP clients in this process share what they need for TLS: reading all authorities takes each 20 ms or more.

Nearly every test makes a client, and nearly none of them uses TLS.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import Any


def share() -> None:
    """Have httpx2 and the SDK make one TLS context for each choice of authorities, if they are imported."""
    core = sys.modules.get("httpcore2")
    if core is None or hasattr(core.default_ssl_context, "shared"):
        return
    make = core.default_ssl_context

    @cache
    def made(_file: str | None, _folder: str | None, trust: bool) -> Any:
        return make(_trust_env=trust)

    def context(*, _trust_env: bool = True) -> Any:
        return made(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"), _trust_env)

    context.shared = True  # type: ignore[attr-defined]
    core.default_ssl_context = context  # type: ignore[attr-defined]
