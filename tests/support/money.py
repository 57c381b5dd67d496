"""A server whose engine has a price, and keys for its administration."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from antiphon.app import core
from antiphon.domain import keys
from antiphon.domain.ids import new_id
from antiphon.domain.ledger import Asked, Entry
from antiphon.domain.routes import Routes
from antiphon.domain.routing import LOCAL, PriceSpec, RouteSpec, TargetSpec
from antiphon.domain.tenancy import AdminKey
from antiphon.engines.single import SingleRoute
from antiphon.ports import Engine
from antiphon.stores.store import SqlStore
from support.inside import in_store
from support.serving import Serving, serving

#: A dollar for each token of output, and nothing for input.
DOLLAR_A_TOKEN = PriceSpec(input="0", output="1000000")
FOR_EVER = Asked(0, 10**11, 10**11)


class PricedRoute(SingleRoute):
    """A route with one engine, and what it costs. No price: a server that nobody knows the prices of."""

    def __init__(self, name: str, engine: Engine, price: PriceSpec | None) -> None:
        super().__init__(name, engine, 1)
        upstream = LOCAL if price is not None else "elsewhere"
        self.spec = RouteSpec(name, (TargetSpec(upstream, engine.name, price=price),))
        if price is None:
            self._target = type(self._target)(upstream, engine.name)


@contextmanager
def selling(
    engine: Engine,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    price: PriceSpec | None = DOLLAR_A_TOKEN,
    **options: Any,
) -> Iterator[Serving]:
    """Serve an engine under its own name for a price, and as "unpriced" for one that nobody knows."""
    routes: dict[str, Any] = {
        engine.name: PricedRoute(engine.name, engine, price),
        "unpriced": PricedRoute("unpriced", engine, None),
    }
    monkeypatch.setattr(core, "routes_of", lambda *_, **__: Routes(routes))
    with serving(engine, path, **options) as served:
        yield served


def admin_client(served: Serving, role: str = "owner") -> OpenAI:
    """The official SDK with a new admin key."""
    secret = keys.new_secret()
    key = AdminKey(
        new_id("key_"), "test", keys.digest(served.data_dir.secret(), secret), keys.hint(secret), role, int(time.time())
    )
    in_store(served, lambda store: store.create_admin_key(key))
    return served.client(admin_api_key=secret)


def entries(served: Serving, count: int, patience: float = 10.0) -> list[Entry]:
    """All entries of the ledger, oldest first, when there are so many. Fails if there are more."""
    deadline = time.monotonic() + patience
    while True:
        found = in_store(served, _all_entries)
        if len(found) >= count or time.monotonic() > deadline:
            assert len(found) == count, found
            return found
        time.sleep(0.02)


async def _all_entries(store: SqlStore) -> list[Entry]:
    from sqlalchemy import select

    from antiphon.stores.tables import ledger

    columns = [ledger.c[name] for name in Entry.__struct_fields__]
    rows = await store._database.read(lambda session: session.select(select(*columns).order_by(ledger.c.seq)))
    return [Entry(*row) for row in rows]
