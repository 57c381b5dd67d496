"""The first start makes a project and a key, once, and never a key that nobody has."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from antiphon.datadir import DataDir
from antiphon.domain.keys import digest
from antiphon.domain.tenancy import Key, Project
from antiphon.policy.keys.first_run import first_run, make_key


class Tenants:
    """A TenantStore in memory. `broken`: storing a key fails."""

    def __init__(self) -> None:
        self.projects: list[Project] = []
        self.keys: list[Key] = []
        self.broken = False

    async def create_project(self, project: Project) -> None:
        self.projects.append(project)

    async def get_project(self, name_or_id: str) -> Project | None:
        return next((project for project in self.projects if name_or_id in (project.id, project.name)), None)

    async def list_projects(self) -> list[Project]:
        return self.projects

    async def create_key(self, key: Key) -> None:
        if self.broken:
            raise OSError("power cut")
        self.keys.append(key)

    async def find_key(self, digest: bytes) -> Key | None:
        return next((key for key in self.keys if key.digest == digest), None)

    async def list_keys(self, project_id: str | None = None) -> list[Key]:
        return [key for key in self.keys if project_id in (None, key.project_id)]

    async def revoke_key(self, key_id: str, at: int) -> bool:
        return False


def opens(store: Tenants, data_dir: DataDir) -> bool:
    """Whether the kept key is one that the store knows."""
    kept = data_dir.default_key()
    return kept is not None and asyncio.run(store.find_key(digest(data_dir.secret(), kept))) is not None


def test_first_start_and_second(tmp_path: Path) -> None:
    store, data_dir = Tenants(), DataDir(tmp_path / "d")
    assert asyncio.run(first_run(store, data_dir)) is True
    assert [project.name for project in store.projects] == ["default"]
    assert [key.project_id for key in store.keys] == [store.projects[0].id]
    assert opens(store, data_dir)
    kept = data_dir.default_key()
    assert asyncio.run(first_run(store, data_dir)) is False
    assert (len(store.projects), len(store.keys), data_dir.default_key()) == (1, 1, kept)


def test_a_crash_before_the_key_is_stored_is_made_good(tmp_path: Path) -> None:
    store, data_dir = Tenants(), DataDir(tmp_path / "d")
    store.broken = True
    with pytest.raises(OSError, match="power cut"):
        asyncio.run(first_run(store, data_dir))
    store.broken = False
    assert asyncio.run(first_run(store, data_dir)) is True
    assert len(store.projects) == 1
    assert opens(store, data_dir)


def test_projects_that_are_there_are_kept(tmp_path: Path) -> None:
    store, data_dir = Tenants(), DataDir(tmp_path / "d")
    store.projects = [Project("proj_1", "mine", 1)]
    assert asyncio.run(first_run(store, data_dir)) is True
    assert [key.project_id for key in store.keys] == ["proj_1"]
    assert len(store.projects) == 1


def test_make_key_gives_the_secret_only_to_the_caller() -> None:
    secret, key = make_key("proj_1", "ci", b"s" * 32, expires_at=5)
    assert key.digest == digest(b"s" * 32, secret)
    assert (key.project_id, key.name, key.expires_at, key.revoked_at) == ("proj_1", "ci", 5, None)
    assert secret not in repr(key)
    assert key.hint.endswith(secret[-4:])
