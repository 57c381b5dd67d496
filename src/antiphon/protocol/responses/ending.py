"""Facts that end a response and come from its client, not from the engine."""

from __future__ import annotations

import msgspec

from antiphon.protocol.generation import Usage


class Steered(msgspec.Struct, frozen=True):
    """The client has something to add: what was said is kept, and another response goes on from it."""


class Warmed(msgspec.Struct, frozen=True):
    """The prompt has been read, and no answer was wanted (`generate: false`)."""

    usage: Usage
