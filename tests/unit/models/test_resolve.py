"""From a name or a path to a model that can be served, and reading a GGUF file's head."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.domain.errors import SetupError
from antiphon.models.resolve import public_name, resolve
from model_files import gguf


def test_a_name_of_the_catalog(tmp_path: Path) -> None:
    model = resolve("smollm2-135m", tmp_path)
    assert model.name == "smollm2-135m"
    assert model.path == tmp_path / "SmolLM2-135M-Instruct.Q4_1.gguf"
    assert model.entry is not None
    assert (model.trained_context, model.kv_bytes) == (8192, 23_040)


def test_a_file_with_a_template_that_knows_tools(tmp_path: Path) -> None:
    path = tmp_path / "My Model (v2).gguf"
    path.write_bytes(
        gguf(
            {
                "general.architecture": "llama",
                "llama.context_length": 32_768,
                "tokenizer.ggml.tokens": ["a", "b"],
                "tokenizer.chat_template": "{% if tools %}",
            }
        )
    )
    model = resolve(str(path), tmp_path)
    assert (model.name, model.path, model.entry) == ("My-Model-v2", path, None)
    assert model.trained_context == 32_768
    assert model.chat.tools == "template"


def test_a_file_trained_for_less_and_without_tools(tmp_path: Path) -> None:
    path = tmp_path / "small.GGUF"
    path.write_bytes(gguf({"general.architecture": "gpt2", "gpt2.context_length": 1024}))
    model = resolve(str(path), tmp_path)
    assert model.trained_context == 1024
    assert model.chat.tools == "prompt"


def test_a_file_that_does_not_say(tmp_path: Path) -> None:
    path = tmp_path / "mute.gguf"
    path.write_bytes(gguf({}))
    model = resolve(str(path), tmp_path)
    assert (model.trained_context, model.kv_bytes) == (None, None)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04 a zip", "not a GGUF file"),
        (b"", "not a GGUF file"),
        (b"GGUF\x03", "not a whole GGUF file"),
        (gguf({"general.architecture": "llama"})[:-3], "not a whole GGUF file"),
        (b"GGUF" + b"\xff" * 40, "not a whole GGUF file"),
    ],
)
def test_a_file_that_is_something_else(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    with pytest.raises(SetupError, match=said):
        resolve(str(path), tmp_path)


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="cannot be read"):
        resolve(str(tmp_path / "none.gguf"), tmp_path)


@pytest.mark.parametrize(
    ("file", "name"), [("a b.gguf", "a-b"), ("..gguf", "model"), ("Qwen3-4B.Q4_K_M.gguf", "Qwen3-4B.Q4_K_M")]
)
def test_public_names(file: str, name: str) -> None:
    assert public_name(Path(file)) == name


SHAPE = {"general.architecture": "x", "x.block_count": 24, "x.embedding_length": 896, "x.attention.head_count": 14}


@pytest.mark.parametrize(
    ("more", "kv_bytes"),
    [
        ({"x.attention.head_count_kv": 2}, 24 * 2 * (64 + 64) * 2),
        ({}, 24 * 14 * (64 + 64) * 2),
        ({"x.attention.head_count_kv": 2, "x.attention.key_length": 128}, 24 * 2 * (128 + 64) * 2),
        ({"x.attention.head_count_kv": [0, 4] * 12}, 12 * 4 * (64 + 64) * 2),
        ({"x.block_count": 0}, None),
        ({"x.attention.head_count": 4_294_967_295}, None),
    ],
)
def test_what_a_token_takes_in_the_cache(
    tmp_path: Path, more: dict[str, int | list[int]], kv_bytes: int | None
) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(gguf({**SHAPE, **more}))
    assert resolve(str(path), tmp_path).kv_bytes == kv_bytes
