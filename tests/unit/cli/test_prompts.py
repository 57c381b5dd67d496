"""Prompts as folders: what is written, that it comes back as it was, and what an import makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.cli import prompt_files
from antiphon.domain.errors import SetupError
from antiphon.protocol import prompts as rules
from support.examples import examples

from .conftest import Run

WITH_NULL = {"type": "json_schema", "name": "n", "schema": {"enum": [None]}}
WHOLE = {"prompt.json": '{"name": "a"}', "instructions.md": "x"}
TEXT = st.text(st.characters(codec="utf-8"), min_size=1)


def content(**members: Any) -> dict[str, Any]:
    return rules.template(rules.check_members(members))


@settings(max_examples=examples(60), deadline=None)
@given(
    text=st.none() | TEXT,
    messages=st.lists(
        st.fixed_dictionaries(
            {
                "role": st.sampled_from(["user", "system", "developer"]),
                "content": TEXT | TEXT.map(lambda text: [{"type": "input_text", "text": text}]),
            },
            optional={"type": st.just("message")},
        ),
        min_size=1,
        max_size=12,
    ),
    default=st.none() | TEXT,
    temperature=st.floats(0, 2),
)
def test_what_is_written_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    text: str | None,
    messages: list[Any],
    default: str | None,
    temperature: float,
) -> None:
    root = tmp_path_factory.mktemp("prompts")
    first = content(instructions="old {{x}}", messages=[{"role": "assistant", "content": str(n)} for n in range(15)])
    prompt_files.write(root / "it", "pmpt_1", "name", first)
    written = content(
        instructions=text,
        messages=messages,
        variables={"v": {"default": default}},
        defaults={"temperature": temperature, "text": {"format": WITH_NULL}},
    )
    prompt_files.write(root / "it", "pmpt_1", "näme", written)
    assert prompt_files.read_all(root) == [prompt_files.PromptFile("pmpt_1", "näme", written)]


def test_the_files_are_readable(tmp_path: Path) -> None:
    written = content(
        instructions="You greet {{name}}.\n\nBe brief.",
        messages=[
            {"role": "user", "content": "Hi"},
            {"role": "user", "content": [{"type": "input_text", "text": "x"}]},
        ],
        defaults={"temperature": 0.5},
    )
    prompt_files.write(tmp_path / "greeter", "pmpt_1", "Greeter", written)
    files = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert sorted(files) == [
        "greeter/instructions.md",
        "greeter/messages/01-user.md",
        "greeter/messages/02-user.json",
        "greeter/prompt.json",
    ]
    assert files["greeter/instructions.md"] == "You greet {{name}}.\n\nBe brief.\n"
    assert json.loads(files["greeter/prompt.json"]) == {
        "id": "pmpt_1",
        "name": "Greeter",
        "variables": {"name": {}},
        "defaults": {"temperature": 0.5},
    }


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "There are no prompts in"),
        ({"a/prompt.json": "{"}, "is not JSON"),
        ({"a/prompt.json": "[]"}, "must hold a JSON object"),
        ({"a/prompt.json": '{"name": "a"}'}, "has 'instructions' or 'messages'"),
        ({"a/prompt.json": '{"name": "a", "what": 1}', "a/instructions.md": "x"}, "Unknown parameter: 'what'"),
        ({"a/prompt.json": '{"name": "a", "id": "../x"}', "a/instructions.md": "x"}, "Invalid 'id'"),
        ({"a/prompt.json": '{"name": "a"}', "a/messages/1-user.json": '{"role": "system"}'}, "another role"),
        ({f"{letter}/{name}": text for letter in "ab" for name, text in WHOLE.items()}, "have the name 'a'"),
    ],
)  # fmt: skip
def test_folders_that_are_not_right(tmp_path: Path, files: dict[str, str], said: str) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(SetupError, match=said):
        prompt_files.read_all(tmp_path)


def test_folder_names() -> None:
    assert prompt_files.folder_name("../Ada & Co!", []) == "ada-co"
    assert prompt_files.folder_name("Ada", ["ADA", "ada-2"]) == "ada-3"
    assert prompt_files.folder_name("日本", []) == "prompt"


def test_import_and_export(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "cwd" / "prompts" / "greeter"
    folder.mkdir(parents=True)
    (folder / "prompt.json").write_text('{"name": "Greeter"}')
    (folder / "instructions.md").write_text("You greet {{name}}.\n")

    def said(*args: str) -> str:
        done = run("prompts", *args)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def listed() -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(said("list", "--json"))
        assert len(found) == 1
        return found[0]

    assert ", version 1\n" in said("import", "prompts")
    prompt = listed()
    assert (prompt["published"], prompt["latest"]) == (None, 1)
    assert said("import", "prompts", "--publish") == "Greeter: unchanged, version 1 published\n"
    assert said("import", "prompts", "--publish") == "Greeter: unchanged\n"
    (folder / "instructions.md").write_text("You welcome {{name}}.\n")
    assert said("import", "prompts") == "Greeter: version 2 made\n"
    assert (listed()["published"], listed()["latest"]) == (1, 2)
    assert "version 2 written to out/greeter" in said("export", "out")
    out = tmp_path / "cwd" / "out" / "greeter"
    assert (out / "instructions.md").read_text() == "You welcome {{name}}.\n"
    assert json.loads((out / "prompt.json").read_text())["id"] == prompt["id"]
    assert "version 1 written to out/greeter" in said("export", "out", "--published")
    assert (out / "instructions.md").read_text() == "You greet {{name}}.\n"
    # The same id in another project: prompts move between servers and keep their names in requests.
    assert run("projects", "create", "other").returncode == 0
    assert f"created as {prompt['id']}" in said("import", "out", "--project", "other", "--publish")
    assert "Greeter" in said("list", "--project", "other")
    assert run("prompts", "import", "nowhere").stderr == "antiphon: There is no folder nowhere.\n"
