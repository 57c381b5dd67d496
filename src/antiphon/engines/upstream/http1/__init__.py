"""A small HTTP/1.1 client for upstreams: pooled connections, and nothing that a gateway has no use for.

Half of a pass-through's processor time would otherwise be its client's (docs/decisions/ has the measurements). Messages
are parsed by llhttp; no redirects, proxies, cookies or compression. RFC 9112 is the protocol.

`pool` has the connections to one origin, `connection` one of them, `response` an answer on it, and `errors` what goes
wrong on the way.
"""

from antiphon.engines.upstream.http1.errors import (
    ConnectionLost,
    PoolExhausted,
    ProtocolError,
    Timeout,
    TransportError,
    Unreachable,
)
from antiphon.engines.upstream.http1.pool import ConnectionBudget, Pool
from antiphon.engines.upstream.http1.response import Response

__all__ = [
    "ConnectionBudget",
    "ConnectionLost",
    "Pool",
    "PoolExhausted",
    "ProtocolError",
    "Response",
    "Timeout",
    "TransportError",
    "Unreachable",
]
