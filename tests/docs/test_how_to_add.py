"""The examples of docs/how-to-add.md are modules that work, put into a server as the page says."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import pytest

from antiphon.app.compose import FEATURES
from antiphon.engines.scripted import ScriptedEngine
from support.gate import until
from support.pages import Block, blocks
from support.real import ROOT
from support.serving import Serving, serving

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
