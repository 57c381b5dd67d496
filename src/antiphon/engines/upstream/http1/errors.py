"""What goes wrong on the way to an upstream. Nothing of it is meant for clients: it may name addresses."""

from __future__ import annotations


class TransportError(Exception):
    """No answer, or not all of one, could be had."""


class Unreachable(TransportError):
    """No connection could be made."""


class PoolExhausted(TransportError):
    """There are as many connections as there may be, or as many open files."""


class ConnectionLost(TransportError):
    """The connection ended before the answer did.

    `stale`: it was used before, and ended at once when the request was written, with no byte of an answer: its server
    was just closing it, and has most likely not taken the request.
    """

    def __init__(self, *, stale: bool = False) -> None:
        super().__init__("broken")
        self.stale = stale


class ProtocolError(TransportError):
    """What came is not HTTP."""


class Timeout(TransportError):
    """A deadline has passed: `connecting`, or for the answer to begin."""

    def __init__(self, *, connecting: bool) -> None:
        super().__init__("late")
        self.connecting = connecting
