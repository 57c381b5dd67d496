"""How a surface says no to a parameter. A parameter is never silently ignored when it would change the answer."""

from __future__ import annotations

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest
from antiphon.wire.problems import show


class Unserved(InvalidRequest):
    """What the API allows and this server does not do by itself; another server that gets the request may."""


def unsupported_parameter(param: str, why: str) -> Unserved:
    """A parameter that cannot be served here; `why` ends the sentence."""
    return Unserved(f"Unsupported parameter: '{param}' {why}.", code="unsupported_parameter", param=param)


def unsupported_value(param: str, message: str) -> Unserved:
    """A value that is valid in the API, and that cannot be served here."""
    return Unserved(message, code="unsupported_value", param=param)


def unknown_parameter(param: str) -> InvalidRequest:
    """A parameter that the API does not have."""
    return InvalidRequest(f"Unknown parameter: '{param}'.", code="unknown_parameter", param=param)


def missing_parameter(param: str) -> InvalidRequest:
    """A parameter that must be there."""
    return InvalidRequest(f"Missing required parameter: '{param}'.", code="missing_required_parameter", param=param)


def check_id(value: str, prefix: str, param: str) -> str:
    """An id of ours as a client writes it. Raises `InvalidRequest` that names what such ids begin with."""
    if value.startswith(prefix):
        return value
    raise InvalidRequest(
        f"Invalid '{param}': '{show(value)}'. Expected an ID that begins with '{prefix.rstrip('_-')}'.",
        code="invalid_value",
        param=param,
    )


def previous_not_found(response_id: str) -> InvalidRequest:
    """There is no response of this id to go on from."""
    return InvalidRequest(
        f"Previous response with id '{response_id}' not found.",
        code="previous_response_not_found",
        param="previous_response_id",
    )


def check_count(name: str, values: object) -> None:
    """Raise `InvalidRequest` if the request's list `name` has more entries than are taken."""
    if isinstance(values, list) and len(values) > limits.MAX_INPUT_ITEMS:
        raise InvalidRequest(
            f"Invalid '{name}': array too long. Expected an array with maximum length {limits.MAX_INPUT_ITEMS}, "
            f"but got an array with length {len(values)} instead.",
            code="array_above_max_length",
            param=name,
        )
