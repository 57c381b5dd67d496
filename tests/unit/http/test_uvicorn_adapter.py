"""A canary: says which of the parts of uvicorn that `http/uvicorn_adapter.py` relies on have changed."""

from __future__ import annotations

import hashlib
import inspect

import uvicorn
from uvicorn.protocols.http import flow_control, httptools_impl
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

_PROTOCOL = httptools_impl.HttpToolsProtocol
_CYCLE = httptools_impl.RequestResponseCycle

#: What is relied on, each with the beginning of its source's SHA-256 as it was when the adapter was last compared.
KNOWN = {
    _PROTOCOL.__init__: "4f0899941034",
    _PROTOCOL.connection_made: "6efb565ff3d3",
    _PROTOCOL.connection_lost: "c91a4c9bf2e2",
    _PROTOCOL._unset_keepalive_if_required: "00a6a4e47214",
    _PROTOCOL._get_upgrade: "7b1305aac7b8",
    _PROTOCOL._should_upgrade: "8fcad1ab8e09",
    _PROTOCOL.handle_websocket_upgrade: "179c4f769386",
    _PROTOCOL.on_message_begin: "96d377fdc7c2",
    _PROTOCOL.on_url: "37be44e962b0",
    _PROTOCOL.on_headers_complete: "1ea8589acfad",
    _PROTOCOL._start_asgi_task: "9c08c2571ae9",
    _PROTOCOL.on_body: "dba9c32aeba3",
    _PROTOCOL.on_message_complete: "1fbad42dc31f",
    _PROTOCOL.on_response_complete: "64e254f28e38",
    _PROTOCOL.shutdown: "d7351fa33f00",
    _CYCLE.__init__: "4d2f220910c3",
    _CYCLE.run_asgi: "0f33f2449a44",
    _CYCLE.send: "abdd8601b326",
    _CYCLE.receive: "8124ae006be7",
    flow_control.FlowControl: "126debcdaa89",
    WebSocketsSansIOProtocol.__init__: "631dcd744eab",
    WebSocketsSansIOProtocol.connection_made: "f533ec93747c",
    WebSocketsSansIOProtocol.connection_lost: "dd116afc4d80",
    WebSocketsSansIOProtocol.shutdown: "e8ace796ada6",
    WebSocketsSansIOProtocol.handle_connect: "fc648c2161ff",
    WebSocketsSansIOProtocol.handle_cont: "d96fe1479da6",
    WebSocketsSansIOProtocol.handle_parser_exception: "ff5cf13c764f",
    WebSocketsSansIOProtocol.keepalive_timeout: "8e1ceb6ec446",
    WebSocketsSansIOProtocol.on_task_complete: "f45490be9f80",
    uvicorn.Server.__init__: "c150b55284f7",
    uvicorn.Server._serve: "4575b7a50adf",
    uvicorn.Server.main_loop: "afccb353a119",
    uvicorn.Server.on_tick: "60ea49b06ccf",
    uvicorn.Server.shutdown: "9b33c5056299",
}


def test_what_the_adapter_relies_on_has_not_changed() -> None:
    now = {part: hashlib.sha256(inspect.getsource(part).encode()).hexdigest()[:12] for part in KNOWN}
    changed = {part.__qualname__: digest for part, digest in now.items() if digest != KNOWN[part]}
    assert not changed, (
        f"uvicorn {uvicorn.__version__} has other versions of these parts: {changed}. Read each of them and "
        "src/antiphon/http/uvicorn_adapter.py, run the suites of HTTP, then write the new digests here."
    )


def test_nothing_else_uses_its_private_parts() -> None:
    """Only uvicorn's `Config` is used elsewhere."""
    import ast
    from pathlib import Path

    import antiphon

    found = set()
    for file in Path(antiphon.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [name.name for name in node.names] if isinstance(node, ast.Import) else []
            if any(module.split(".")[0] == "uvicorn" for module in modules):
                found.add(file.name)
                if file.name != "uvicorn_adapter.py":
                    assert modules == ["uvicorn"], file
    assert found == {"uvicorn_adapter.py", "server.py"}
