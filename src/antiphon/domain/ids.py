"""Identifiers in OpenAI's style: a prefix, the second of creation, and randomness that cannot be guessed."""

from __future__ import annotations

import os
import threading
import time

#: Randomness fetched at once: asking the system for it costs far more than using it.
_POOL = 8192


class _Randomness:
    """Random hexadecimal digits from the system, each given out once, also to threads and forked processes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.forget()
        os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        """Give out nothing of what was fetched."""
        self._digits = ""
        self._at = 0

    def take(self, digits: int) -> str:
        """So many digits."""
        with self._lock:
            end = self._at + digits
            if end > len(self._digits):
                self._digits = os.urandom(_POOL).hex()
                self._at, end = 0, digits
            taken = self._digits[self._at : end]
            self._at = end
            return taken


_randomness = _Randomness()


def random_hex(digits: int) -> str:
    """Random hexadecimal digits, four bits each, that cannot be guessed. At most a few thousand at once."""
    return _randomness.take(digits)


def new_id(prefix: str) -> str:
    """A new id such as `resp_69217f0a…`.

    Eight hex digits of the time come first, so that ids made together lie together in a database index; 160 random
    bits follow.
    """
    return f"{prefix}{int(time.time()):08x}{random_hex(40)}"
