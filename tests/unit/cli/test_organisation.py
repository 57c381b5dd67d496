"""The organisation on the command line: users, admin keys, projects, and the log of what was changed."""

from __future__ import annotations

import json
from pathlib import Path

from antiphon.datadir import DataDir

from .conftest import Run


def said(run: Run, *args: str) -> str:
    done = run(*args)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def refused(run: Run, *args: str) -> str:
    done = run(*args)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_admin_keys(run: Run, tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path / "data")
    secret = said(run, "admin-keys", "create", "--name", "laptop", "--days", "30", "--keep")
    assert secret.startswith("sk-antiphon-admin-")
    assert data_dir.admin_key() == secret
    assert data_dir.admin_key_file.stat().st_mode & 0o777 == 0o600
    assert f"export OPENAI_ADMIN_KEY={secret}" in said(run, "env", "--admin")
    assert "OPENAI_ADMIN_KEY" not in said(run, "env")
    other = said(run, "admin-keys", "create", "--read-only")
    shown = said(run, "admin-keys", "list", "--json")
    assert secret not in shown
    assert other not in shown
    first, second = json.loads(shown)
    assert (first["name"], first["user"], first["role"]) == ("laptop", "owner@localhost", "owner")
    assert first["expires_at"] - first["created_at"] == 30 * 86_400
    assert (second["role"], second["expires_at"]) == ("reader", None)
    said(run, "admin-keys", "revoke", first["id"])
    assert data_dir.admin_key() is None
    assert "admin-keys create --keep" in refused(run, "env", "--admin")
    assert "No admin API key" in refused(run, "admin-keys", "revoke", first["id"])
    table = said(run, "admin-keys", "list")
    assert "revoked" in table
    assert "only looks" in table


def test_users_and_their_places(run: Run) -> None:
    user = said(run, "users", "add", "Anna@Example.com", "--name", "Anna")
    assert "already" in refused(run, "users", "add", "anna@example.com", "--name", "Anna")
    assert "email address" in refused(run, "users", "add", "anna", "--name", "Anna")
    assert said(run, "users", "set", "anna@example.com", "--role", "owner") == "anna@example.com is owner."
    assert "is member of 'default'" in said(run, "users", "place", user, "--project", "default")
    assert "is owner of 'default'" in said(run, "users", "place", user, "--project", "default", "--role", "owner")
    assert "is not in 'default'" in said(run, "users", "place", user, "--project", "default", "--role", "none")
    assert "There is no user 'nobody'" in refused(run, "users", "set", "nobody", "--role", "owner")
    said(run, "users", "remove", "owner@localhost")
    assert "must keep an owner" in refused(run, "users", "remove", user)
    (left,) = json.loads(said(run, "users", "list", "--json"))
    assert (left["id"], left["email"], left["role"]) == (user, "anna@example.com", "owner")
    assert "anna@example.com" in said(run, "users", "list")


def test_an_invite_becomes_a_user(run: Run) -> None:
    invite = said(run, "users", "invite", "ben@example.com")
    user = said(run, "users", "accept", invite, "--name", "Ben")
    assert "This invite is accepted" in refused(run, "users", "accept", invite, "--name", "Ben")
    assert "No invite" in refused(run, "users", "accept", "invite-x", "--name", "Ben")
    users = {found["id"]: found for found in json.loads(said(run, "users", "list", "--json"))}
    assert (users[user]["email"], users[user]["role"]) == ("ben@example.com", "reader")


def test_projects_are_renamed_and_archived_and_the_log_tells(run: Run) -> None:
    project = said(run, "projects", "create", "staging")
    said(run, "projects", "rename", "staging", "next")
    said(run, "projects", "set", "next", "--response-ttl-days", "1")
    said(run, "projects", "archive", "next")
    assert "neither renamed nor archived" in refused(run, "projects", "archive", "default")
    assert "printable" in refused(run, "projects", "create", " ")
    (found,) = [each for each in json.loads(said(run, "projects", "list", "--json")) if each["id"] == project]
    assert found["name"] == "next"
    assert found["archived_at"] is not None
    assert "archived" in said(run, "projects", "list")
    lines = said(run, "audit", "--project", "next", "--json").splitlines()
    entries = [json.loads(line) for line in lines]
    assert [entry["type"] for entry in entries] == [
        "project.archived",
        "project.updated",
        "project.updated",
        "project.created",
    ]
    assert entries[1]["after"] == {"response_ttl": 86_400}
    assert (entries[2]["before"], entries[2]["after"]) == ({"name": "staging"}, {"name": "next"})
    assert {entry["actor"]["kind"] for entry in entries} == {"session"}
    table = said(run, "audit")
    assert "name=staging→next" in table
    assert "command line" in table
    assert len(said(run, "audit", "--limit", "1").splitlines()) == 2
