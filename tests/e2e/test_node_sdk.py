"""The official Node SDK against the real server: runs the scripts of `tests/node`, which hold the assertions."""

from __future__ import annotations

import re

import pytest

from support import node
from support.real import Server, environment

SCRIPTS = sorted(path.name for path in node.HOME.glob("*.test.mjs"))


@pytest.fixture(scope="session")
def node_sdk() -> None:
    node.install()


def test_there_are_scripts() -> None:
    assert SCRIPTS == [
        "chat.test.mjs",
        "errors.test.mjs",
        "responses.test.mjs",
        "structured.test.mjs",
        "tools.test.mjs",
    ]


@pytest.mark.parametrize("script", SCRIPTS)
def test_script(script: str, node_sdk: None, coder: Server) -> None:
    done = node.run(node.HOME / script, cwd=node.HOME, env=environment(**coder.variables))
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert re.search(r"pass [1-9]", done.stdout), done.stdout[-4000:]
