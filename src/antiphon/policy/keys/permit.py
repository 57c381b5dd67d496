"""Whether a key may do what it is used for."""

from __future__ import annotations

from antiphon.domain.errors import ModelNotFound, PermissionDenied, Unauthenticated
from antiphon.domain.scopes import ANYTHING
from antiphon.domain.tenancy import Caller


def permit(caller: Caller, scope: str | None, address: str | None) -> None:
    """Raise unless the key may be used from this address (`Unauthenticated`) and for this scope (`PermissionDenied`).

    `scope`: None, where there is nothing to be done.
    """
    permits = caller.permits
    if permits is ANYTHING:
        return
    if not permits.address(address):
        raise Unauthenticated("Your IP address is not authorized to use this API key.", code="ip_not_authorized")
    if scope is not None:
        permit_scope(caller, scope)


def permit_scope(caller: Caller, scope: str) -> None:
    """Raise `PermissionDenied` unless the key has this scope."""
    if not caller.permits.scope(scope):
        raise PermissionDenied(
            f"You have insufficient permissions for this operation. Missing scopes: {scope}. "
            "If you are using a restricted API key, check that it has the necessary scopes.",
            code="insufficient_permissions",
        )


def permit_model(caller: Caller, asked: str | None, route: str) -> None:
    """Raise `ModelNotFound` unless the key may ask for the model of this name, or of its route's.

    It might as well not be there.
    """
    if not caller.permits.model(asked, route):
        raise ModelNotFound(asked or route)
