"""A real server on a real socket, with an engine of the test's choice, in a thread of this process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop
from openai import OpenAI

from antiphon import app
from antiphon.app.compose import FEATURES
from antiphon.app.feature import MakeFeature
from antiphon.datadir import DataDir
from antiphon.policy.keys.first_run import make_key
from antiphon.ports import Engine
from antiphon.settings import Settings
from support.databases import sqlite_template


@dataclass
class Serving:
    """Where the server is, and the keys that open it."""

    url: str
    key: str
    data_dir: DataDir
    settings: Settings
    loop: asyncio.AbstractEventLoop
    headers: dict[str, str] = field(init=False)
    base_url: str = field(init=False)

    def __post_init__(self) -> None:
        self.base_url = f"{self.url}/v1"
        self.headers = {"Authorization": f"Bearer {self.key}"}

    def call(self, function: Callable[[], object]) -> None:
        """Have the server's loop call a function, such as the `set` of an event that a script waits for."""
        self.loop.call_soon_threadsafe(function)

    def client(self, **options: Any) -> OpenAI:
        """The official SDK, pointed here."""
        return OpenAI(base_url=f"{self.url}/v1", api_key=self.key, **{"max_retries": 0, **options})


@contextlib.contextmanager
def serving(
    engine: Engine | None,
    path: Path,
    *,
    features: Sequence[MakeFeature] = FEATURES,
    settings_type: type[Settings] = Settings,
    **options: Any,
) -> Iterator[Serving]:
    """Serve `engine` with a data directory at `path` until the block is left. `options`: settings by name."""
    settings = settings_type(
        data_dir=path, port=0, **{"database": f"sqlite:///{path / 'antiphon.db'}", "drain_timeout": 5.0, **options}
    )
    data_dir = DataDir(path)
    if settings.database == f"sqlite:///{path / 'antiphon.db'}":
        _put_database(path / "antiphon.db")
    ready = threading.Event()
    failure: list[BaseException] = []
    loop = uvloop.new_event_loop()
    stop = asyncio.Event()
    address: list[tuple[str, int]] = []

    def announce(host: str, port: int) -> None:
        address.append((host, port))
        ready.set()

    def main() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(app.run(settings, data_dir, engine, announce, stop, features))
        except BaseException as error:
            failure.append(error)
        finally:
            ready.set()
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    thread = threading.Thread(target=main, name="server")
    thread.start()
    ready.wait(30)
    try:
        if failure:
            raise failure[0]
        host, port = address[0]
        key = data_dir.default_key()
        assert key is not None
        yield Serving(f"http://{host}:{port}", key, data_dir, settings, loop)
    finally:
        with contextlib.suppress(RuntimeError):  # one that has failed has closed its loop
            loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        assert not thread.is_alive(), "the server did not stop"
    if failure:
        raise failure[0]


def _put_database(path: Path) -> None:
    """A new server finds its schema up to date; migrations have tests of their own."""
    with contextlib.suppress(FileExistsError), open(path, "xb", opener=_private) as file:
        file.write(sqlite_template())


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def other_project(served: Serving, name: str = "other") -> str:
    """A key of another project on the same server."""
    from antiphon.domain.ids import new_id
    from antiphon.domain.tenancy import Project
    from antiphon.stores.store import SqlStore

    async def make() -> str:
        store = SqlStore(served.settings.database, backups=None)
        await store.open()
        try:
            project = Project(new_id("proj_"), name, 1)
            await store.create_project(project)
            secret, key = make_key(project.id, "test", served.data_dir.secret())
            await store.create_key(key)
            return secret
        finally:
            await store.close()

    return asyncio.run(make())
