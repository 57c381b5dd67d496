"""Settings of the server's own address, and of the connections that it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from antiphon.domain import limits
from antiphon.settings import parsers
from antiphon.settings.spec import Spec


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """Where it listens, what it takes, and how long a stop waits."""

    host: Annotated[str, Spec(parsers.text, "Address to listen on. Anything but loopback must be said explicitly")] = (
        "127.0.0.1"
    )
    port: Annotated[int, Spec(parsers.integer(0, 65535), "Port to listen on; 0 takes a free one")] = 8000
    max_body: Annotated[int, Spec(parsers.integer(1024, 1024 * limits.MIB), "Most bytes of one request's body")] = (
        limits.MAX_BODY
    )
    max_connections: Annotated[
        int,
        Spec(
            parsers.integer(1, 1_000_000),
            "Connections of clients that may be open at once; more are refused with 503, and fewer are taken where the "
            "system allows few open files",
        ),
    ] = limits.MAX_CONNECTIONS
    cors_origins: Annotated[
        tuple[str, ...], Spec(parsers.texts, "Web origins that may call from a browser; none turns CORS off", "none")
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...],
        Spec(
            parsers.networks,
            "Networks of reverse proxies that are believed when they say whom they speak for",
            "none",
        ),
    ] = ()
    drain_timeout: Annotated[
        float, Spec(parsers.seconds(0, 3600), "Seconds that running requests have to finish at a stop")
    ] = limits.DRAIN_TIMEOUT
