"""An answer that does not fit a schema that is not strict: handed out, told in a header, and counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from antiphon.engines.constrained.engine import ConstrainedEngine
from antiphon.engines.scripted import ScriptedEngine
from antiphon.ports import Capabilities
from antiphon.protocol.generation import Finish, TextDelta, Usage
from support.rawhttp import Wire
from support.serving import Serving, serving

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
TEXT = '{"a": "no number"}'


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    answer = [TextDelta(TEXT), Finish("stop", Usage(1, 0, 1))]
    able = Capabilities(context_tokens=1000, constrains=False)
    engine = ConstrainedEngine(ScriptedEngine(lambda _: answer, capabilities=able))
    with serving(engine, Path(tmp_path_factory.mktemp("unmet"))) as server:
        yield server


def post(served: Serving, path: str, *, strict: bool, **more: Any) -> httpx2.Response:
    form = {"name": "x", "schema": SCHEMA, "strict": strict}
    asked: dict[str, Any] = (
        {
            "messages": [{"role": "user", "content": "hi"}],
            "response_format": {"type": "json_schema", "json_schema": form},
        }
        if path.startswith("chat")
        else {"input": "hi", "text": {"format": {"type": "json_schema", **form}}}
    )
    headers = {"Authorization": f"Bearer {served.key}"}
    body = {"model": "gpt-5-mini", **asked, **more}
    return httpx2.post(f"{served.url}/v1/{path}", json=body, headers=headers, timeout=30)


@pytest.mark.parametrize("path", ["chat/completions", "responses"])
def test_it_is_handed_out_and_marked(served: Serving, path: str) -> None:
    answer = post(served, path, strict=False)
    assert answer.status_code == 200
    assert answer.headers["x-antiphon-schema"] == "unmet"
    assert "no number" in answer.text
    streamed = post(served, path, strict=False, stream=True)
    assert streamed.status_code == 200
    assert ": x-antiphon-schema: unmet" in streamed.text.splitlines()


@pytest.mark.parametrize("path", ["chat/completions", "responses"])
def test_what_is_strict_is_not(served: Serving, path: str) -> None:
    answer = post(served, path, strict=True)
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "output_invalid"
    assert "x-antiphon-schema" not in answer.headers


def test_it_is_counted(served: Serving) -> None:
    def counted() -> float:
        with Wire(served.url, {}) as wire:
            lines = wire.ask("GET", "/metrics").body.decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("antiphon_schemas_unmet_total{"))

    before = counted()
    post(served, "responses", strict=False)
    post(served, "responses", strict=True)
    assert counted() == before + 1
