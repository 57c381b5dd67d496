"""A new secret for a key, while the old one goes on working for a while."""

from __future__ import annotations

from dataclasses import replace

from antiphon.domain.errors import Conflict
from antiphon.domain.organisation import Actor, AuditEntry
from antiphon.domain.tenancy import Key
from antiphon.policy.keys.first_run import make_key
from antiphon.ports import AccessStore


async def rotate(
    store: AccessStore, old: Key, server_secret: bytes, *, now: int, overlap: int, actor: Actor
) -> tuple[str, Key, int]:
    """Make a key in the place of another one: (its secret, the key, until when the old one works at most).

    It may do what the old one may, and expires as long after it was made. `now` is in Unix seconds, `overlap` in
    seconds. Raises `Conflict` if the old key was revoked, has expired, or was replaced before.
    """
    if not old.valid_at(now) or old.replaced_by is not None:
        raise _not_now(old)
    until = now + overlap
    expires_at = None if old.expires_at is None else now + (old.expires_at - old.created_at)
    secret, made = make_key(old.project_id, old.name, server_secret, expires_at=expires_at)
    key = replace(
        old,
        id=made.id,
        digest=made.digest,
        hint=made.hint,
        created_at=now,
        expires_at=expires_at,
        last_used_at=None,
    )
    until = until if old.expires_at is None else min(until, old.expires_at)
    before, after = {"expires_at": old.expires_at}, {"expires_at": until, "replaced_by": key.id}
    entry = AuditEntry("api_key.updated", actor, old.id, old.project_id, before, after)
    if not await store.rotate_key(old.id, key, until, entry):
        raise _not_now(old)
    return secret, key, until


def _not_now(old: Key) -> Conflict:
    if old.replaced_by is not None:
        return Conflict(f"The key '{old.id}' was replaced before, by '{old.replaced_by}': rotate that one.")
    return Conflict(f"The key '{old.id}' does not work any more, so it cannot be replaced: create another one.")
