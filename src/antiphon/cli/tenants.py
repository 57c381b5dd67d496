"""The database as the commands for keys and projects use it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from antiphon.domain.errors import SetupError
from antiphon.settings import Loaded

if TYPE_CHECKING:
    from antiphon.datadir import DataDir
    from antiphon.domain.organisation import User
    from antiphon.domain.tenancy import Project
    from antiphon.ports import OrganisationStore, Store, TenantStore

T = TypeVar("T")


def with_store(loaded: Loaded, work: Callable[[Store, DataDir], Awaitable[T]]) -> T:
    """Open the database (a first start makes its project and key), do `work`, and close it. Raises `AntiphonError`."""
    return asyncio.run(_with_store(loaded, work))


async def _with_store(loaded: Loaded, work: Callable[[Store, DataDir], Awaitable[T]]) -> T:
    # Here, because SQLAlchemy takes longer to import than all of `--help`.
    from antiphon.datadir import DataDir
    from antiphon.policy.keys.first_run import first_owner, first_run
    from antiphon.stores.store import SqlStore

    data_dir = DataDir(loaded.settings.data_dir)
    store = SqlStore(loaded.settings.database, backups=data_dir.backups)
    try:
        await store.open()
        await first_run(store, data_dir)
        await first_owner(store)
        return await work(store, data_dir)
    finally:
        await store.close()


async def get_project(store: TenantStore, name_or_id: str) -> Project:
    """The project with this name or id. Raises `SetupError` if there is none."""
    project = await store.get_project(name_or_id)
    if project is None:
        raise SetupError(f"There is no project '{name_or_id}'. 'antiphon projects list' shows them all.")
    return project


async def get_user(store: OrganisationStore, email_or_id: str) -> User:
    """The user with this email or id. Raises `SetupError` if there is none."""
    user = await store.get_user(email_or_id) or await store.find_user(email_or_id.lower())
    if user is None:
        raise SetupError(f"There is no user '{email_or_id}'. 'antiphon users list' shows them all.")
    return user
