"""Calls for tests that begin below the HTTP door."""

from __future__ import annotations

from antiphon.domain.tenancy import Caller, Key, Project
from antiphon.policy.call import Call


def call_of(project_id: str, endpoint: str = "/v1/responses", *, key_id: str = "key_test") -> Call:
    """A call by a key of this project."""
    project = Project(project_id, project_id, 0)
    key = Key(key_id, project_id, "test", b"", "sk-…", 0)
    return Call(Caller(key, project), endpoint, "req_test", began_at=0.0)
