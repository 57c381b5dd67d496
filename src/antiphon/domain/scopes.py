"""What a key may do: scopes, models and addresses, in the form that is asked for every call. No I/O."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Groups of endpoints that take a project's key: what follows `/v1/` in their paths.
GROUPS = ("chat", "conversations", "models", "prompts", "responses")
#: The scope of a key that may do everything.
ALL = "*"

_SCOPE = re.compile(r"([a-z_]+):(read|write)")


def group_of(path: str) -> str:
    """The group that a resource belongs to: "chat" for `/v1/chat/completions`."""
    parts = path.split("/", 3)
    return parts[2] if len(parts) > 2 else ""


def scope_of(group: str, method: str) -> str:
    """The scope that a method (in capitals) on a group needs: GET and HEAD read, all else writes."""
    return f"{group}:{'read' if method in {'GET', 'HEAD'} else 'write'}"


class Names:
    """A set of names; those that end with `*` stand for all that begin so."""

    __slots__ = ("_names", "_prefixes")

    def __init__(self, patterns: Iterable[str]) -> None:
        patterns = tuple(patterns)
        self._names = frozenset(pattern for pattern in patterns if not pattern.endswith("*"))
        self._prefixes = tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*"))

    def __contains__(self, name: object) -> bool:
        return name in self._names or (isinstance(name, str) and name.startswith(self._prefixes))


class Permits:
    """What a key may do, compiled once. None everywhere stands for no restriction."""

    __slots__ = ("_models", "_networks", "_scopes")

    def __init__(
        self,
        scopes: Iterable[str] | None = None,
        models: Iterable[str] | None = None,
        addresses: Iterable[str] | None = None,
    ) -> None:
        """Scopes, names of models, and networks as `checked_…` below have let them pass."""
        self._scopes = None if scopes is None or ALL in (scopes := tuple(scopes)) else frozenset(scopes)
        self._models = None if models is None else Names(models)
        self._networks = None if addresses is None else tuple(network(text) for text in addresses)

    def scope(self, scope: str) -> bool:
        """Whether this scope is among them."""
        return self._scopes is None or scope in self._scopes

    def model(self, *names: str | None) -> bool:
        """Whether a model may be asked for that has one of these names."""
        return self._models is None or any(name in self._models for name in names)

    @property
    def any_model(self) -> bool:
        """Whether every model may be asked for."""
        return self._models is None

    def address(self, text: str | None) -> bool:
        """Whether a call may come from this address; one that is not known may not, if any are named."""
        if self._networks is None:
            return True
        address = parsed_address(text)
        return address is not None and any(address in allowed for allowed in self._networks)


#: Of a key without restrictions.
ANYTHING = Permits()


def permits(
    scopes: tuple[str, ...] | None, models: tuple[str, ...] | None, addresses: tuple[str, ...] | None
) -> Permits:
    """The compiled form; the same object for all keys without restrictions."""
    if scopes is None and models is None and addresses is None:
        return ANYTHING
    return Permits(scopes, models, addresses)


def parsed_address(text: str | None) -> Address | None:
    """An IP address; None for what is none. An IPv4 address that is written as IPv6 (RFC 4291, 2.5.5.2) is IPv4."""
    try:
        address = ipaddress.ip_address((text or "").partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def network(text: str) -> Network:
    """A network such as `10.0.0.0/8` or `2001:db8::/32`, or one address. Raises `ValueError`."""
    return ipaddress.ip_network(text.strip(), strict=False)


# --- what people write ------------------------------------------------------------------------------------------------
def checked_scopes(given: Iterable[str]) -> tuple[str, ...]:
    """Scopes as a key has them. Raises `InvalidRequest` for one that no endpoint asks for."""
    scopes = _bounded(given, "scopes")
    for scope in scopes:
        match = _SCOPE.fullmatch(scope)
        if scope != ALL and (match is None or match[1] not in GROUPS):
            raise InvalidRequest(
                f"There is no scope '{scope[:100]}'. Scopes are '*', or one of {', '.join(GROUPS)} followed by ':read' "
                "or ':write'.",
                code="invalid_value",
                param="scopes",
            )
    return scopes


def checked_models(given: Iterable[str]) -> tuple[str, ...]:
    """Names of models as a key has them. Raises `InvalidRequest` for what can be none."""
    models = _bounded(given, "models")
    for model in models:
        if len(model) > limits.MAX_ID or not model.isprintable() or "*" in model[:-1]:
            raise InvalidRequest(
                f"'{model[:100]}' is no name of a model, and no beginning of one with a '*' at its end.",
                code="invalid_value",
                param="models",
            )
    return models


def checked_addresses(given: Iterable[str]) -> tuple[str, ...]:
    """Networks as a key has them, in their canonical form. Raises `InvalidRequest` for what is none."""
    return tuple(_checked_network(text) for text in _bounded(given, "addresses"))


def _checked_network(text: str) -> str:
    try:
        return str(network(text))
    except ValueError:
        raise InvalidRequest(
            f"'{text[:100]}' is no network. Write an address such as 192.0.2.7, or a network such as 10.0.0.0/8.",
            code="invalid_value",
            param="addresses",
        ) from None


def _bounded(given: Iterable[str], what: str) -> tuple[str, ...]:
    entries = tuple(dict.fromkeys(entry.strip() for entry in given if entry.strip()))
    if len(entries) > limits.MAX_KEY_ENTRIES:
        raise InvalidRequest(
            f"A key can name at most {limits.MAX_KEY_ENTRIES} {what}.", code="array_above_max_length", param=what
        )
    return entries
