"""API keys: how they look, and what of them is kept. Pure functions."""

from __future__ import annotations

import base64
import hmac
import os

PREFIX = "sk-antiphon-"
#: Keys for the administration of the organisation look like keys of projects, but for this.
ADMIN_PREFIX = "sk-antiphon-admin-"
#: 256 random bits: 43 characters of URL-safe base64.
_SECRET_BYTES = 32


def new_secret(prefix: str = PREFIX) -> str:
    """A new key such as `sk-antiphon-…` with 43 random URL-safe characters. It is shown once and never stored."""
    return prefix + base64.urlsafe_b64encode(os.urandom(_SECRET_BYTES)).rstrip(b"=").decode("ascii")


def digest(server_secret: bytes, key: str) -> bytes:
    """What is stored of a key: HMAC-SHA-256 (32 bytes) under the server's secret: a stolen database opens nothing."""
    return hmac.digest(server_secret, key.encode("utf-8", "surrogatepass"), "sha256")


def hint(key: str) -> str:
    """What tells a key from others without giving it away: `sk-antiphon-…AbCd`."""
    prefix = ADMIN_PREFIX if key.startswith(ADMIN_PREFIX) else PREFIX
    return f"{prefix}…{key[-4:]}"
