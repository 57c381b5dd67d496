"""Requests that are sent twice."""

from __future__ import annotations

from typing import Protocol

from antiphon.domain.records import KeyClaim, KeyState


class KeyStore(Protocol):
    """Idempotency keys: which requests were sent with which key, and what they were answered."""

    async def claim_key(self, claim: KeyClaim, *, now: float, until: int) -> KeyState | None:
        """Take a key for a request until `until` (Unix milliseconds); None: it is the caller's.

        Otherwise, what is known of it. It is free if nobody used it in the last `limits.IDEMPOTENCY_TTL` before `now`
        (Unix seconds), or if the same request was sent with it and whoever was answering that has let its claim end.
        """

    async def renew_key(self, claim: KeyClaim, until: int) -> None:
        """Hold it until `until` (Unix milliseconds)."""

    async def settle_key(
        self, claim: KeyClaim, status: int, content_type: str, body: bytes | None, object_id: str | None
    ) -> None:
        """Keep the answer, if the key is still the caller's. `object_id`: what the answer shows."""

    async def release_key(self, claim: KeyClaim) -> None:
        """Forget the key, if it is still the caller's and has no answer."""

    async def forget_answers(self, project_id: str, object_id: str) -> None:
        """Delete the answers that show this object; their keys stay taken."""

    async def sweep_keys(self, *, before: int, limit: int) -> int:
        """Delete up to `limit` keys first used before `before` (Unix seconds). Returns how many were deleted."""
