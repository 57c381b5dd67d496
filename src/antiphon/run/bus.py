"""Who waits for news of a response within this process."""

from __future__ import annotations

import asyncio

Name = tuple[str, str]


class Bus:
    """Wakes those who follow a response, named by (project, id), when something of it has been kept."""

    def __init__(self) -> None:
        #: By name: those who wait, in the order in which they came.
        self._waiting: dict[Name, dict[asyncio.Future[None], None]] = {}
        self.closed = False

    def followed(self) -> list[Name]:
        """The responses that somebody waits for."""
        return list(self._waiting)

    def publish(self, name: Name) -> None:
        """There is news of this response."""
        for future in self._waiting.pop(name, ()):
            if not future.done():
                future.set_result(None)

    def listen(self, name: Name) -> asyncio.Future[None]:
        """Is done at the next news of this response. Ask before looking, then await: so that nothing is missed."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.closed:
            future.set_result(None)
        else:
            self._waiting.setdefault(name, {})[future] = None
        return future

    def forget(self, name: Name, future: asyncio.Future[None]) -> None:
        """Nobody waits for this any more."""
        waiting = self._waiting.get(name)
        if waiting is not None:
            waiting.pop(future, None)
            if not waiting:
                del self._waiting[name]

    def close(self) -> None:
        """Wake everybody; nobody shall wait any more."""
        self.closed = True
        for name in list(self._waiting):
            self.publish(name)
