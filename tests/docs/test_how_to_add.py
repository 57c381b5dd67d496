"""The examples of docs/how-to-add.md are modules that work, put into a server as the page says."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import pytest

from antiphon.app import serving as app_serving
from antiphon.app.compose import FEATURES
from antiphon.engines.scripted import ScriptedEngine
from antiphon.engines.upstream.engine import UpstreamEngine
from antiphon.protocol.responses import client_tools, item_types
from antiphon.settings import gateway
from support.gate import until
from support.pages import Block, blocks
from support.real import ROOT
from support.serving import Serving, serving
from support.upstream_of import tables
from support.upstreams import Says, chat_upstream

PAGE = ROOT / "docs" / "how-to-add.md"
_FILE = re.compile(r"^`src/(antiphon/[\w/]+\.py)`$")


def examples() -> dict[str, Block]:
    """The page's modules: each is a block of Python below a line that names its file."""
    lines = PAGE.read_text("utf-8").splitlines()
    named = {}
    for block in blocks(PAGE):
        match = _FILE.match(lines[block.line - 3])
        if match and block.language == "python":
            named[match[1]] = block
    return named


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """All of them, by their names, and imported as if they stood where the page says. None is there already."""
    made: dict[str, ModuleType] = {}
    waiting = {path.removesuffix(".py").replace("/", "."): block for path, block in examples().items()}
    while waiting:
        name = next(name for name, block in waiting.items() if not imports(block) & waiting.keys() - {name})
        block = waiting.pop(name)
        package, _, short = name.rpartition(".")
        assert not (ROOT / "src" / f"{name.replace('.', '/')}.py").exists(), f"{block.where}: there is such a file"
        module = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr(f"{package}.{short}", module, raising=False)
        exec(compile(block.text, f"{block.where}", "exec"), module.__dict__)
        made[name] = module
    return made


def imports(block: Block) -> set[str]:
    """The modules that an example imports."""
    found = set()
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.fixture
def served(modules: dict[str, ModuleType], tmp_path: Path) -> Iterator[Serving]:
    """A server with all features of the page before the last one of our own."""
    own = [
        getattr(module, name.rpartition(".")[2])
        for name, module in modules.items()
        if name.startswith("antiphon.app.features.")
    ]
    with serving(ScriptedEngine(), tmp_path, features=(*FEATURES[:-1], *own, FEATURES[-1])) as served:
        yield served


def ask(served: Serving, method: str, path: str, body: Any = None) -> httpx2.Response:
    return httpx2.request(method, f"{served.base_url}{path}", headers=served.headers, json=body, timeout=20)


def test_every_file_that_the_page_names_is_there_or_is_an_example() -> None:
    text = PAGE.read_text("utf-8")
    made = {f"src/{path}" for path in examples()}
    for name in re.findall(r"`((?:src/antiphon/|tests/)?[\w/]+\.py)`", text):
        places = [name, f"src/antiphon/{name}"]
        assert any((ROOT / place).exists() or place in made for place in places), name


def test_the_type_of_tool_stands_as_the_page_shows_it() -> None:
    assert "apply_patch" in client_tools.SINGLE
    text = Path(item_types.__file__).read_text("utf-8")
    [shown] = [block.text for block in blocks(PAGE) if not block.language]
    assert shown in "".join(line.removeprefix("    ") for line in text.splitlines(keepends=True))


def test_the_resource_and_its_job(served: Serving) -> None:
    for _ in range(3):
        said = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hi"}], "store": True}
        assert ask(served, "POST", "/chat/completions", said).status_code == 200
    report = ask(served, "POST", "/reports", {"model": "scripted"}).json()
    assert report["status"] in ("queued", "running")
    until(lambda: ask(served, "GET", f"/reports/{report['id']}").json()["status"] == "done", "it is made")
    made = ask(served, "GET", f"/reports/{report['id']}").json()
    assert made == {**report, "status": "done", "result": {"model": "scripted", "completions": 3}}
    for path, body, param in (
        ("/reports", {}, "model"),
        ("/reports", {"model": "m", "x": 1}, "x"),
        ("/reports", {"model": 7}, "model"),
    ):
        error = ask(served, "POST", path, body).json()["error"]
        assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert ask(served, "GET", "/reports/nobody").status_code == 404


def test_the_stage(served: Serving) -> None:
    for path, body in (
        ("/responses", {"input": "word " * 4_000}),
        ("/chat/completions", {"messages": [{"role": "user", "content": "word " * 4_000}]}),
    ):
        refused = ask(served, "POST", path, {"model": "gpt-5-mini", **body})
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "prompt_too_long")
    assert ask(served, "POST", "/responses", {"model": "gpt-5-mini", "input": "word"}).status_code == 200
    made = ask(served, "POST", "/responses", {"model": "gpt-5-mini", "input": "a forbidden word"}).json()
    text = made["output"][-1]["content"][0]["text"]
    assert "a ********* word" in text
    assert "forbidden" not in text


def test_the_kind_of_upstream(modules: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dialect = modules["antiphon.engines.upstream.completions"].CompletionDialect
    monkeypatch.setattr(gateway, "_KINDS", ("completions",))
    monkeypatch.setattr(
        app_serving,
        "upstream_engine",
        lambda client, target, model, deadlines, worker: UpstreamEngine(dialect, client, model, worker=worker),
    )
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    parts = [{"text": "well"}, {"text": " known"}, {"text": "", "finish_reason": "stop"}]

    def answer(body: dict[str, Any]) -> Says:
        if not body["stream"]:
            whole = {"choices": [{"text": "well known", "finish_reason": "stop"}], "usage": usage}
            return Says([json.dumps(whole).encode()])
        events = [json.dumps({"choices": [part], "usage": usage}) for part in parts]
        return Says([f"data: {event}\n\n".encode() for event in [*events, "[DONE]"]], kind="text/event-stream")

    with chat_upstream(answer) as upstream:
        upstreams = {"base": {"kind": "completions", "url": upstream.url}}
        settings = tables(upstreams, {"r": {"targets": [{"upstream": "base", "model": "b"}]}})
        with serving(None, tmp_path, **settings) as served:
            messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
            body = {"model": "r", "messages": messages, "max_tokens": 9}
            made = ask(served, "POST", "/chat/completions", body).json()
            assert made["choices"][0]["message"]["content"] == "well known"
            assert made["usage"]["total_tokens"] == 5
            streamed = ask(served, "POST", "/responses", {"model": "r", "input": "hi", "stream": True}).text
            assert '"type":"response.completed"' in streamed
            assert '"delta":" known"' in streamed
            tool = {"type": "function", "function": {"name": "f"}}
            refused = ask(served, "POST", "/chat/completions", {**body, "tools": [tool]})
            assert (refused.status_code, refused.json()["error"]["param"]) == (400, "tools")
    assert upstream.asked[0].body == {"model": "b", "prompt": "Be brief.\n\nhi", "stream": False, "max_tokens": 9}
