"""Identifiers in OpenAI's style: a prefix, the second of creation, and randomness that cannot be guessed."""

from __future__ import annotations

import os
import time


def new_id(prefix: str) -> str:
    """A new id such as `resp_69217f0a…`.

    Eight hex digits of the time come first, so that ids made together lie together in a database index; 160 random
    bits follow.
    """
    return f"{prefix}{int(time.time()):08x}{os.urandom(20).hex()}"
