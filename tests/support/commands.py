"""The command line in this process: what a command prints and how it ends, without a second of starting Python."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest import mock

from antiphon.cli.main import main


def run_command(*args: str, env: Mapping[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """What `antiphon ARGS…` does in this directory, seeing these variables and no others.

    It runs the real entry point. What is true of a process alone (signals, imports, a terminal) needs a process.
    """
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    code = 0
    with _place(env, cwd), _streams(out, err), mock.patch.object(sys, "argv", ["antiphon", *args]):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return subprocess.CompletedProcess(["antiphon", *args], code, *(_text(stream) for stream in (out, err)))


@contextlib.contextmanager
def _place(env: Mapping[str, str], cwd: Path) -> Iterator[None]:
    with contextlib.chdir(cwd), mock.patch.dict(os.environ, env, clear=True):
        yield


@contextlib.contextmanager
def _streams(out: io.TextIOWrapper, err: io.TextIOWrapper) -> Iterator[None]:
    with (
        Path(os.devnull).open() as nothing,
        mock.patch.object(sys, "stdin", nothing),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        yield


def _text(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()
