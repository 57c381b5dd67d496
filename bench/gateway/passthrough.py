"""The reference: the least a gateway can be. Raw ASGI, bytes in, bytes out, aiohttp as the client.

`python -m bench.gateway.passthrough UPSTREAM` prints its port.
"""

from __future__ import annotations

import socket
import sys


def main() -> None:
    """Serve until killed."""
    import aiohttp
    import uvicorn
    import uvloop

    upstream = f"{sys.argv[1]}/chat/completions"
    session: aiohttp.ClientSession | None = None

    async def app(scope, receive, send):  # type: ignore[no-untyped-def]  # the barest ASGI there is
        nonlocal session
        if session is None:
            session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {"content-type": "application/json", "authorization": "Bearer upstream"}
        async with session.post(upstream, data=body, headers=headers) as reply:
            kind = reply.headers["content-type"].encode()
            head = [(b"content-type", kind)]
            if not kind.startswith(b"text/event-stream"):
                whole = await reply.read()
                head.append((b"content-length", str(len(whole)).encode()))
                await send({"type": "http.response.start", "status": reply.status, "headers": head})
                await send({"type": "http.response.body", "body": whole})
                return
            await send({"type": "http.response.start", "status": reply.status, "headers": head})
            async for piece in reply.content.iter_any():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(app, lifespan="off", log_level="warning", access_log=False, http="httptools", ws="none")
    uvloop.run(uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    main()
