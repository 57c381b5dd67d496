"""Pulling from a model hub: the real huggingface_hub, in its child process, against a small hub on loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from antiphon.domain.errors import SetupError
from antiphon.models import files, hub, pull
from antiphon.models.catalog import HubSource
from model_files import Record, model

CONTENT = b"GGUF" + bytes(range(256)) * 16_384
SOURCE = HubSource(file="hf:owner/repo/tiny.gguf")


class Hub(ThreadingHTTPServer):
    """Serves one file as a hub does. `cut_after`: bytes after which the first download breaks off."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.cut_after: int | None = None
        self.ranges_known = True
        self.ranges: list[str | None] = []


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        if self.path != "/owner/repo/resolve/main/tiny.gguf":
            self.head(404, b"")
            return
        hub = self.server
        asked = self.headers.get("Range")
        hub.ranges.append(asked)
        first = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and hub.ranges_known else 0
        data = hub.content[first:]
        if first and not data:
            self.head(416, b"")
            return
        self.head(206 if first else 200, data)
        cut, hub.cut_after = hub.cut_after, None
        self.wfile.write(data[:cut])
        self.close_connection = True

    def head(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def small_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    server = Hub()
    # How often it looks whether it is to stop is how long each test waits at its end.
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    yield server
    server.shutdown()
    server.server_close()


def test_a_file_of_the_hub(small_hub: Hub, tmp_path: Path, record: Record) -> None:
    entry = model(CONTENT, SOURCE)
    assert pull.ensure(entry, tmp_path / "models", progress=record).read_bytes() == CONTENT
    assert record.updates[-1] == (len(CONTENT), len(CONTENT))
    assert not files.work_path(entry.path(tmp_path / "models")).exists()


def test_a_download_that_breaks_off_goes_on(small_hub: Hub, tmp_path: Path) -> None:
    small_hub.cut_after = 3_000_000
    assert pull.ensure(model(CONTENT, SOURCE), tmp_path / "models").read_bytes() == CONTENT
    assert small_hub.ranges[0] is None
    assert small_hub.ranges[1] is not None
    assert int(small_hub.ranges[1].removeprefix("bytes=").removesuffix("-")) > 0
    assert len(small_hub.ranges) == 2


@pytest.mark.parametrize("had", [1_000_000, len(CONTENT)])
def test_an_interrupted_pull_goes_on_where_it_was(small_hub: Hub, tmp_path: Path, had: int) -> None:
    entry = model(CONTENT, SOURCE)
    work = files.work_path(entry.path(tmp_path))
    work.mkdir(parents=True)
    (work / "hub.part").write_bytes(CONTENT[:had])
    assert pull.ensure(entry, tmp_path).read_bytes() == CONTENT
    assert small_hub.ranges == [f"bytes={had}-"]


def test_a_hub_that_knows_no_ranges(small_hub: Hub, tmp_path: Path) -> None:
    small_hub.ranges_known = False
    entry = model(CONTENT, SOURCE)
    work = files.work_path(entry.path(tmp_path))
    work.mkdir(parents=True)
    (work / "hub.part").write_bytes(CONTENT[:1000])
    assert pull.ensure(entry, tmp_path).read_bytes() == CONTENT


def test_a_hub_that_does_not_answer(small_hub: Hub, tmp_path: Path) -> None:
    small_hub.shutdown()
    small_hub.server_close()
    with pytest.raises(SetupError, match=r"model hub .*: .*[Cc]onnect"):
        pull.ensure(model(CONTENT, SOURCE), tmp_path)


def test_another_file_under_the_same_name_is_refused(small_hub: Hub, tmp_path: Path) -> None:
    small_hub.content = CONTENT[:-1] + b"!"
    entry = model(CONTENT, SOURCE)
    with pytest.raises(SetupError, match=r"tiny\.gguf was refused and removed: its SHA-256 is wrong"):
        pull.ensure(entry, tmp_path / "models")
    assert pull.state(entry, tmp_path / "models") == "absent"


def test_a_file_that_the_hub_does_not_have(small_hub: Hub, tmp_path: Path) -> None:
    entry = model(CONTENT, HubSource(file="hf:owner/repo/other.gguf"))
    with pytest.raises(SetupError, match=r"model hub \(hf:owner/repo/other.gguf\): .*404"):
        pull.ensure(entry, tmp_path / "models")


def test_what_is_missing_is_counted(tmp_path: Path) -> None:
    entry = model(CONTENT, SOURCE)
    assert hub.missing_bytes(entry, tmp_path) == len(CONTENT)
    (tmp_path / "hub.part").write_bytes(CONTENT[:1000])
    assert hub.missing_bytes(entry, tmp_path) == len(CONTENT) - 1000
