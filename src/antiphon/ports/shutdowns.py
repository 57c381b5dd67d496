"""What is shut down, and who still uses it."""

from __future__ import annotations

from typing import Protocol

from antiphon.domain.retirement import Use


class UseStore(Protocol):
    """Which key used what is shut down."""

    async def note_use(self, use: Use) -> None:
        """Add `use.count` to what is known of this project, key and subject. The project must exist."""

    async def list_uses(self) -> list[Use]:
        """All uses, the latest first."""
