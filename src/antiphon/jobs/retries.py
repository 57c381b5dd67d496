"""What must be let go of, and could not be: tried again until it is done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from antiphon.domain.errors import AntiphonError


class Retries:
    """Work that is done again until it raises no `AntiphonError`. It ends with the process."""

    def __init__(self) -> None:
        self._work: list[Callable[[], Awaitable[None]]] = []

    def add(self, work: Callable[[], Awaitable[None]]) -> None:
        """Try this at the next sweep."""
        self._work.append(work)

    async def sweep(self) -> None:
        """Try all of it once more."""
        work, self._work = self._work, []
        for each in work:
            try:
                await each()
            except AntiphonError:
                self._work.append(each)
