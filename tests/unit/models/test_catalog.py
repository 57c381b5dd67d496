"""The catalog: the data that ships, its schema, and finding a model."""

from __future__ import annotations

import pytest

from antiphon.domain.errors import SetupError
from antiphon.models import catalog
from antiphon.models.catalog import ArchiveSource, HubSource

GOOD = """
default = "a"
[models.a]
file = "a.gguf"
bytes = 10
sha256 = "{sha}"
licence = "MIT"
kind = "chat"
description = "d"
trained_context = 1024
kv_bytes = 100
chat = {{ tools = "prompt", top_k = 0, min_p = 0.1 }}
[[models.a.sources]]
kind = "archives"
archives = [{{ requirement = "a==1.0", bytes = 5, sha256 = "{sha}", member = "{member}" }}]
"""


def text(sha: str = "0" * 64, member: str = "a/data.bin") -> str:
    return GOOD.format(sha=sha, member=member)


def test_the_models_that_must_be_there() -> None:
    models = {model.name: model for model in catalog.all_models()}
    assert set(models) >= {"qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b", "smollm2-135m"}
    assert catalog.default().name == "qwen2.5-coder-0.5b"
    assert models["qwen2.5-coder-0.5b"].bytes == 491_400_064
    assert models["qwen2.5-coder-0.5b"].megabytes == "491 MB"
    assert models["smollm2-135m"].chat.tools == "prompt"


def test_every_model_has_both_kinds_of_source_and_distinct_files() -> None:
    models = catalog.all_models()
    assert len({model.file for model in models}) == len({model.sha256 for model in models}) == len(models)
    for model in models:
        assert [type(source) for source in model.sources] == [ArchiveSource, HubSource]
        assert model.trained_context >= 4096
        assert 1000 < model.kv_bytes < 200_000
        for source in model.sources:
            if isinstance(source, HubSource):
                assert source.path.endswith(model.file)
            else:
                assert len({archive.sha256 for archive in source.archives}) == len(source.archives)


def test_hub_source_is_taken_apart() -> None:
    source = HubSource(file="hf:owner/repo/sub/file.gguf")
    assert (source.repository, source.path) == ("owner/repo", "sub/file.gguf")


def test_find_by_name_and_default() -> None:
    assert catalog.find("default") is catalog.default()
    assert catalog.find("smollm2-135m").file == "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.mark.parametrize(
    ("name", "said"),
    [("smollm2", "Did you mean 'smollm2-135m'?"), ("zzz", "There are: qwen2.5-coder-0.5b"), ("", "There are:")],
)
def test_unknown_name_suggests(name: str, said: str) -> None:
    with pytest.raises(SetupError) as raised:
        catalog.find(name)
    assert said in raised.value.message
    assert ".gguf" in raised.value.message


def test_good_document_is_read() -> None:
    model = catalog.parse(text()).models["a"]
    assert model.name == "a"
    assert model.chat.min_p == 0.1


@pytest.mark.parametrize(
    "broken",
    [
        text(sha="0" * 63),
        text(sha="G" * 64),
        text(member="../x"),
        text(member="/etc/passwd"),
        text(member=""),
        text().replace("a==1.0", "a>=1.0"),
        text().replace("a==1.0", "--index-url=x"),
        text().replace('"a.gguf"', '"../a.gguf"'),
        text().replace('kind = "chat"', 'kind = "poem"'),
        text().replace("trained_context = 1024", "trained_contxt = 1024"),
        text().replace("bytes = 10", "bytes = 0"),
        text().replace('default = "a"', 'default = "b"'),
        text() + "surplus = 1",
        "[",
    ],
)
def test_broken_document_is_refused(broken: str) -> None:
    with pytest.raises(SetupError, match="catalog is broken"):
        catalog.parse(broken)
