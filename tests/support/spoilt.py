"""A server of routes, a proxy behind it that spoils answers, and the server behind that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from antiphon.engines.scripted import ScriptedEngine, saying
from antiphon.settings import gateway
from support.fault_proxy import FaultProxy, fault_proxy
from support.serving import Serving, serving

TEXT = "Grüße aus Köln: 日本語, naïve café, and so on. " * 3
#: Seconds. `first` and `between` are what most faults run into; `whole` ends what only drips.
DEADLINES = {"connect": 0.3, "first": 0.3, "between": 0.3, "whole": 0.6}
KINDS = ["chat", "responses"]
SURFACES: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/chat/completions", {"messages": [{"role": "user", "content": "hello"}]}),
    "responses": ("/responses", {"input": "hello"}),
}
#: US dollars for a million tokens of output: half of one for each token that is spoilt, a whole one for what is sound.
SPOILT, SOUND = 500_000, 1_000_000


@dataclass
class Wired:
    """A server of routes, the proxy behind it, and the secret of the server behind that."""

    front: Serving
    proxy: FaultProxy
    secret: str

    def post(self, path: str, body: dict[str, Any]) -> httpx2.Response:
        """Ask the front."""
        return httpx2.post(f"{self.front.base_url}{path}", headers=self.front.headers, json=body, timeout=20)


@contextmanager
def spoilt(kind: str, path: Path) -> Iterator[Wired]:
    """All three, with data below `path`. The upstreams speak the API of this kind."""
    with serving(ScriptedEngine(saying(TEXT, pieces=12)), path / "behind") as behind:
        address = urlsplit(behind.url)
        assert address.hostname
        assert address.port
        secret = path / "key"
        secret.write_text(behind.key)
        with (
            fault_proxy(address.hostname, address.port, "scripted") as proxy,
            serving(None, path / "front", **_settings(kind, proxy.port, behind.base_url, secret)) as front,
        ):
            yield Wired(front, proxy, behind.key)


def _settings(kind: str, proxy_port: int, behind: str, secret: Path) -> dict[str, Any]:
    upstreams = {
        "spoilt": {"kind": kind, "url": f"http://127.0.0.1:{proxy_port}/v1", "secret": {"file": str(secret)}},
        "sound": {"kind": kind, "url": behind, "secret": {"file": str(secret)}},
        "nobody": {"kind": kind, "url": "http://127.0.0.1:9/v1"},
    }
    target = {"upstream": "spoilt", "price": {"input": 0, "output": SPOILT}}
    plain = {"targets": [target], "deadlines": DEADLINES, "retries": 0}
    fallbacks = [{"route": "sound"}]
    sound = {"upstream": "sound", "model": "scripted", "price": {"input": 0, "output": SOUND}}
    routes = {
        "once/*": plain,
        "calm/*": {"targets": [target], "retries": 0},
        "again/*": {"targets": [target]},
        "safe/*": {**plain, "fallbacks": fallbacks},
        "sure/*": {"targets": [target], "fallbacks": fallbacks, "retries": 0},
        "sound": {"targets": [sound]},
        "nobody": {"targets": [{"upstream": "nobody", "model": "x"}], "retries": 0},
    }
    return {"upstreams": gateway.upstreams(upstreams), "routes": gateway.routes(routes), "model": "none"}


def text_of(body: dict[str, Any]) -> str:
    """What a completion, or a Response, says."""
    if "choices" in body:
        return str(body["choices"][0]["message"]["content"])
    return "".join(part["text"] for item in body["output"] for part in item["content"])


def events_of(answer: httpx2.Response) -> list[Any]:
    """The data of every event; `[DONE]` as it is."""
    blocks = [block for block in answer.text.split("\n\n") if block]
    data = [line.removeprefix("data: ") for block in blocks for line in block.split("\n") if line.startswith("data: ")]
    return [item if item == "[DONE]" else json.loads(item) for item in data]
