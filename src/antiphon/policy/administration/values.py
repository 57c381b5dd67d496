"""What may be a name, an email, a role and a key's life. Pure functions; each raises `InvalidRequest`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from antiphon.domain import limits, scopes
from antiphon.domain.errors import InvalidRequest
from antiphon.protocol.refusals import missing_parameter

#: Something, an @, something: whether mail arrives is not for us to find out (RFC 5321 allows more than anybody uses).
_EMAIL = re.compile(r"[^\s@<>(),;:\\\"\[\]]+@[^\s@<>(),;:\\\"\[\]]+")


def checked_name(value: str | None, param: str = "name") -> str:
    """A name without the space around it: 1 to `limits.MAX_NAME` printable characters."""
    if value is None:
        raise missing_parameter(param)
    name = value.strip()
    if not name or len(name) > limits.MAX_NAME or not name.isprintable():
        raise InvalidRequest(
            f"Invalid '{param}': a name has 1 to {limits.MAX_NAME} printable characters.",
            code="invalid_value",
            param=param,
        )
    return name


def checked_email(value: str | None, param: str = "email") -> str:
    """An address in small letters, so that one person is not two users."""
    if value is None:
        raise missing_parameter(param)
    if len(value) > limits.MAX_EMAIL or not value.isprintable() or not _EMAIL.fullmatch(value):
        raise InvalidRequest(
            f"Invalid '{param}': expected an email address of at most {limits.MAX_EMAIL} characters.",
            code="invalid_value",
            param=param,
        )
    return value.lower()


def checked_role(value: str | None, roles: Collection[str], param: str = "role") -> str:
    """One of `roles`."""
    if value is None:
        raise missing_parameter(param)
    if value not in roles:
        words = " and ".join(f"'{role}'" for role in roles)
        raise InvalidRequest(
            f"Invalid value: '{value[:100]}'. Supported values are: {words}.", code="invalid_value", param=param
        )
    return value


def expiry(life: int | None, now: float, param: str = "expires_in_seconds") -> int | None:
    """When a key that lives `life` seconds from `now` (Unix seconds) expires; None: it does not."""
    if life is None:
        return None
    if not 1 <= life <= limits.MAX_KEY_LIFE:
        raise InvalidRequest(
            f"Invalid '{param}': expected 1 to {limits.MAX_KEY_LIFE} seconds.", code="invalid_value", param=param
        )
    return int(now) + life


def checked_scopes(given: Iterable[str]) -> tuple[str, ...] | None:
    """Scopes as a key has them; None, that is all, for none (published documentation of the API).

    Taken are our own ("chat:write"), and OpenAI's names for the same: "api.all.read", "api.responses.write",
    "api.model.request".
    """
    found: list[str] = []
    for name in given:
        found += _translated(name)
    return scopes.checked_scopes(found) or None


def _translated(name: str) -> list[str]:
    if name == "api.all.read":
        return [f"{group}:read" for group in scopes.GROUPS]
    if name == "api.model.request":
        return ["chat:write", "responses:write"]
    if name == "api.model.read":
        return ["models:read"]
    match = re.fullmatch(r"api\.([a-z_]+)\.(read|write)", name)
    return [name if match is None else f"{match[1]}:{match[2]}"]
