"""Runs the documentation: every block of the README and the guide, in order, as a reader would.

`sh`, `python` and `js` blocks are run, `toml` blocks are read as settings; `console` and unnamed ones are only shown.
The reader's shell stands in a directory with a `.venv`, beside a running server.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import node
from support.pages import Block, blocks, guides
from support.real import ROOT, Server, environment, launch
from support.warm import WarmPython, warm_python

SHOWN = {"console", ""}
#: That one block may take.
SECONDS = 100
GATEWAY = ROOT / "docs/guide/gateway.md"


@dataclass
class Reader:
    """Someone who follows a page: where they are, and what their shell has been told so far."""

    home: Path
    variables: dict[str, str]
    warm: WarmPython | None = None

    def run(self, block: Block) -> None:
        """Do what a block says. Fails with its place."""
        if block.language in SHOWN:
            return
        act = ACTS.get(block.language)
        assert act is not None, (
            f"{block.where}: nobody knows how to run '{block.language}'; is it meant to be 'console'?"
        )
        try:
            act(self, block)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{block.where}: takes too long")

    def execute(self, block: Block, *command: str | Path) -> str:
        """Run a command; returns what it prints."""
        done = subprocess.run(
            command,
            cwd=self.home,
            env=environment(**self.variables),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return self.judge(block, done)

    def judge(self, block: Block, done: subprocess.CompletedProcess[str]) -> str:
        """What a command that went well has printed."""
        assert done.returncode == 0, (
            f"{block.where}: exit code {done.returncode}\n{block.text}\n{done.stdout}{done.stderr}"
        )
        return done.stdout


def _sh(reader: Reader, block: Block) -> None:
    """A shell goes on with what the earlier ones exported."""
    script = f"{block.text}\necho '--- exported ---'\nenv\n"
    said, _, exported = reader.execute(block, "/bin/sh", "-e", "-c", script).partition("--- exported ---\n")
    _judge(block, said)
    for line in exported.splitlines():
        name, _, value = line.partition("=")
        if name.startswith("OPENAI_"):
            reader.variables[name] = value


def _judge(block: Block, said: str) -> None:
    """curl is content with refusals: one must be announced by the page ("answers 400 with …"), and be that one."""
    announced = re.match(r"answers (\d+)(?: with `(.+?)`)?", block.follows)
    if not announced:
        assert '{"error":' not in said, f"{block.where}: {said}"
        return
    error = json.loads(said)["error"]
    assert error["type"] == "invalid_request_error", f"{block.where}: {said}"
    name, value = json.loads(f"{{{announced[2]}}}").popitem()
    assert error[name] == value, f"{block.where}: {said}"


def _python(reader: Reader, block: Block) -> None:
    assert "OPENAI_BASE_URL" in reader.variables, f"{block.where}: comes before 'antiphon env'"
    script = reader.home / "block.py"
    script.write_text(block.text, "utf-8")
    if re.search(r"^from openai|^import openai", block.text, re.MULTILINE) and reader.warm:
        said = reader.judge(block, reader.warm.run(script, env=environment(**reader.variables), seconds=SECONDS))
    else:
        said = reader.execute(block, sys.executable, "-W", "error", script)
    assert said.strip(), f"{block.where}: shows nothing"


def _js(reader: Reader, block: Block) -> None:
    (reader.home / "node_modules").symlink_to(node.install())
    script = reader.home / "block.mjs"
    script.write_text(block.text, "utf-8")
    assert reader.execute(block, node.NODE, script).strip(), f"{block.where}: shows nothing"
    (reader.home / "node_modules").unlink()


def _toml(reader: Reader, block: Block) -> None:
    """Settings are right if the command line takes them."""
    (reader.home / "antiphon.toml").write_text(block.text, "utf-8")
    reader.execute(block, ".venv/bin/antiphon", "config")
    (reader.home / "antiphon.toml").unlink()


ACTS: dict[str, Callable[[Reader, Block], None]] = {"sh": _sh, "python": _python, "js": _js, "toml": _toml}


#: Pages whose model reads much and need not make sense.
MUCH_READ = ("context.md",)


@pytest.fixture
def house(request: pytest.FixtureRequest) -> Server:
    """The server that the page is read beside."""
    page = getattr(request.node, "callspec", None) and request.node.callspec.params["page"]
    server: Server = request.getfixturevalue("small" if page and page.name in MUCH_READ else "coder")
    return server


@pytest.fixture(scope="module")
def warm() -> Iterator[WarmPython]:
    """Python that has imported the SDK already, as forty blocks would do."""
    with warm_python() as python:
        yield python


@pytest.fixture
def reader(house: Server, tmp_path: Path, warm: WarmPython) -> Reader:
    (tmp_path / ".venv").symlink_to(sys.prefix)
    # Away with the environment's own bin: a command that a reader could not find must not be found here.
    path = [place for place in os.environ["PATH"].split(os.pathsep) if Path(place) != Path(sys.executable).parent]
    return Reader(tmp_path, {"ANTIPHON_DATA_DIR": str(house.data_dir.path), "PATH": os.pathsep.join(path)}, warm)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", [page for page in guides() if page != GATEWAY], ids=lambda page: page.name)
def test_page(page: Path, reader: Reader, house: Server) -> None:
    if "antiphon env" not in page.read_text("utf-8"):
        # A page further in: its reader has come from the first steps, in a shell that knows the server.
        reader.variables |= {"OPENAI_BASE_URL": house.base_url, "OPENAI_API_KEY": house.key}
    for block in blocks(page):
        reader.run(block)


@pytest.mark.timeout(300)
def test_the_gateway(reader: Reader, house: Server, tmp_path: Path) -> None:
    """Its page is for another server: the one that it describes, before the one that is there."""
    steps = blocks(GATEWAY)
    settings = next(block.text for block in steps if block.language == "toml")
    assert "http://127.0.0.1:8000/v1" in settings
    (tmp_path / "front").mkdir()
    (tmp_path / "front" / "antiphon.toml").write_text(settings.replace("http://127.0.0.1:8000/v1", house.base_url))
    with launch(tmp_path / "front", HOUSE_KEY=house.key) as front:
        reader.variables |= {**front.variables, "ANTIPHON_DATA_DIR": str(front.data_dir.path)}
        for block in steps:
            reader.run(block)


def test_the_readme_can_be_followed() -> None:
    languages = [block.language for block in blocks(ROOT / "README.md")]
    assert {"console", "sh", "python"} <= set(languages)
    assert "js" in [block.language for page in guides() for block in blocks(page)]


def test_a_broken_block_is_told_with_its_place(tmp_path: Path) -> None:
    page = ROOT / "README.md"
    reader = Reader(tmp_path, {})
    with pytest.raises(AssertionError, match=r"README\.md:7: exit code 3"):
        reader.run(Block(page, 7, "sh", "exit 3\n"))
    with pytest.raises(AssertionError, match="nobody knows how to run 'ruby'"):
        reader.run(Block(page, 7, "ruby", "puts 1\n"))
