"""The real smallest model: pulled through the command if it is not here, and verified in any case."""

from __future__ import annotations

import subprocess
import sys

import pytest

from antiphon.models import catalog, pull
from antiphon.models.files import sha256_of
from antiphon.models.resolve import resolve
from antiphon.settings import Settings


@pytest.mark.timeout(900)
def test_smollm2_is_pulled_and_is_the_right_file() -> None:
    model = catalog.find("smollm2-135m")
    models_dir = Settings().models_dir
    command = [sys.executable, "-m", "antiphon", "models", "pull", model.name, "--models-dir", str(models_dir)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    path = resolve(model.name, models_dir).path
    assert f"{model.name} is here, SHA-256 verified: {path}" in done.stdout
    assert pull.state(model, models_dir) == "ready"
    assert path.stat().st_size == model.bytes
    assert sha256_of(path) == model.sha256


def test_the_catalogs_context_is_what_the_file_says() -> None:
    from antiphon.models import gguf

    model = catalog.find("smollm2-135m")
    info = gguf.read(pull.ensure(model, Settings().models_dir))
    assert (info.trained_context, info.kv_bytes) == (model.trained_context, model.kv_bytes)
    assert info.knows_tools == (model.chat.tools == "template")
