"""Where a request came from, and whether it was encrypted, behind reverse proxies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from starlette.types import Scope

from antiphon.domain.scopes import network, parsed_address

#: The node of one hop (RFC 7239, 6): an address, perhaps with a port, and an IPv6 address in brackets.
_NODE = re.compile(r'"?(?:\[([0-9A-Fa-f:.]+)\](?::\d{1,5})?|([0-9.]+)(?::\d{1,5})?|([0-9A-Fa-f:.]+))"?')
_PROTO = re.compile(r'(?:^|;)\s*proto="?([a-z]+)"?', re.IGNORECASE)
_FOR = re.compile(r'(?:^|;)\s*for=("[^"]*"|[^;]*)', re.IGNORECASE)


class Proxies:
    """Proxies that are trusted to say whom they speak for, in `X-Forwarded-For` or `Forwarded` (RFC 7239)."""

    def __init__(self, networks: Iterable[str]) -> None:
        """`networks`: that they are in, such as `10.0.0.0/8`. Without any, no forwarding header is believed."""
        self._networks = tuple(network(text) for text in networks)

    def origin(self, scope: Scope) -> str | None:
        """The address that a call came from; None if that cannot be known.

        Each proxy adds whom it was asked by at the right: so, from the right, the first one that is no proxy of ours is
        the client. What stands left of that was written by the client itself.
        """
        client = scope.get("client")
        peer: str | None = client[0] if client else None
        if not self._networks or not self._trusts(peer):
            return peer
        simple = self._rightmost(peer, _simple(scope["headers"]))
        standard = self._rightmost(peer, _standard(scope["headers"]))
        # A proxy writes one of the two, and may pass on the other as the client wrote it: then neither tells.
        if simple is not None and standard is not None and simple != standard:
            return None
        return (simple or standard or (peer,))[0]

    def is_secure(self, scope: Scope) -> bool:
        """Whether the client's own connection is encrypted: to this server, or to a proxy that is trusted to say so."""
        if scope["scheme"] in ("https", "wss"):
            return True
        client = scope.get("client")
        if not self._networks or not self._trusts(client[0] if client else None):
            return False
        simple = _listed(scope["headers"], b"x-forwarded-proto")
        standard = [_PROTO.search(hop) for hop in _listed(scope["headers"], b"forwarded")[-1:]]
        # As with addresses: only what the nearest proxy has written can be believed. If both headers say something, one
        # of them may be the client's own.
        said = {scheme.strip().lower() for scheme in simple[-1:]} | {match[1].lower() for match in standard if match}
        return bool(said) and said <= {"https", "wss"}

    def _rightmost(self, peer: str | None, hops: Sequence[str]) -> tuple[str | None] | None:
        """The client, after these hops; None if the header has not been sent."""
        if not hops:
            return None
        for hop in reversed(hops):
            node = _NODE.fullmatch(hop.strip())
            address = parsed_address(node and (node[1] or node[2] or node[3]))
            if address is None:
                return (None,)
            if not self._trusts(str(address)):
                return (str(address),)
        # Only proxies: the one farthest away has asked by itself.
        return (str(address),)

    def _trusts(self, text: str | None) -> bool:
        address = parsed_address(text)
        return address is not None and any(address in trusted for trusted in self._networks)


def _simple(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    return _listed(headers, b"x-forwarded-for")


def _standard(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """The `for` of each hop; "unknown" where it does not say."""
    found = [_FOR.search(hop) for hop in _listed(headers, b"forwarded")]
    return [match[1] if match is not None else "unknown" for match in found]


def _listed(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> list[str]:
    """The entries of a header, which may come in several lines."""
    text = ",".join([value.decode("latin-1") for name, value in headers if name == wanted])
    return text.split(",") if text.strip() else []
