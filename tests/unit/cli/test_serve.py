"""`antiphon serve` settles everything before the server starts, and gives it exactly that."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
from typer.testing import CliRunner

from antiphon.cli.main import app
from antiphon.datadir import DataDir
from antiphon.models.resolve import ResolvedModel
from antiphon.settings import Loaded
from model_files import gguf


def test_serve_hands_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model_file = tmp_path / "own.gguf"
    model_file.write_bytes(gguf({}))
    given: list[tuple[Loaded, DataDir, ResolvedModel]] = []

    def run_server(loaded: Loaded, data_dir: DataDir, model: ResolvedModel) -> int:
        given.append((loaded, data_dir, model))
        return 3

    fake = types.ModuleType("antiphon.app")
    fake.serve = run_server  # type: ignore[attr-defined]  # a module is made by hand
    monkeypatch.setitem(sys.modules, "antiphon.app", fake)
    monkeypatch.chdir(tmp_path)
    args = ["serve", "--data-dir", str(tmp_path / "data"), "--model", str(model_file), "--port", "0", "--slots", "5"]
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 3, result.output
    ((loaded, data_dir, model),) = given
    assert (loaded.settings.port, loaded.settings.slots, loaded.settings.host) == (0, 5, "127.0.0.1")
    assert data_dir.path == tmp_path / "data"
    assert data_dir.path.stat().st_mode & 0o777 == 0o700
    assert (model.name, model.path) == ("own", model_file)
