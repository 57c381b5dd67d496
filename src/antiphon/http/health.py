"""/healthz and /readyz, for monitoring. They need no key and show nothing but the state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from antiphon.domain.errors import AntiphonError
from antiphon.http.exchange import Exchange
from antiphon.http.resource import Resource
from antiphon.wire import json as wire_json

#: Raises `AntiphonError` if the server cannot answer requests now.
Check = Callable[[], Awaitable[None]]


def resources(check: Check) -> list[Resource]:
    """`/healthz`: the process is up. `/readyz`: it can answer, its engine and its database included."""

    async def health(exchange: Exchange) -> None:
        await exchange.reply(200, b'{"status":"ok"}')

    async def ready(exchange: Exchange) -> None:
        try:
            await check()
        except AntiphonError as error:
            body = {"status": "unavailable", "reason": error.message}
            await exchange.reply(503, wire_json.encode(body), [(b"retry-after", b"1")])
        else:
            await exchange.reply(200, b'{"status":"ready"}')

    return [
        Resource("/healthz", {"GET": health, "HEAD": health}, access="open"),
        Resource("/readyz", {"GET": ready, "HEAD": ready}, access="open"),
    ]
