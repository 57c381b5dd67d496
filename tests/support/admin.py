"""Administrators of a server under test: their keys, and the official SDK with one."""

from __future__ import annotations

from typing import Any

from openai import OpenAI

from antiphon.domain.organisation import CLI, Member, User
from antiphon.policy.keys.first_run import DEFAULT_PROJECT
from antiphon.run.clock import SystemClock
from antiphon.run.organisation.admin_keys import AdminKeys
from antiphon.run.organisation.users import Users
from antiphon.stores.store import SqlStore
from support.inside import in_store
from support.serving import Serving


def admin_key(served: Serving, *, email: str | None = None, role: str = "owner", place: str | None = None) -> str:
    """A new admin key: of the first user, or of a new user with this email, of this role in the organisation.

    `place`: the new user's role in the default project.
    """

    async def work(store: SqlStore) -> str:
        clock = SystemClock()
        user: User | None = await store.first_user()
        if email is not None:
            user = await Users(store, clock).add(CLI, email, email.partition("@")[0], role)
            if place is not None:
                project = await store.get_project(DEFAULT_PROJECT)
                assert project is not None
                await store.add_member(Member(project.id, user, place, 1))
        secret, _ = await AdminKeys(store, clock, served.data_dir.secret()).create(CLI, user, "test")
        return secret

    return in_store(served, work)


def admin_client(served: Serving, key: str, **options: Any) -> OpenAI:
    """The official SDK with this admin key only."""
    return OpenAI(base_url=served.base_url, admin_api_key=key, **{"max_retries": 0, **options})
