"""Chance, for pauses that should not be in step and for choices among equals. Not for secrets."""

from __future__ import annotations

from random import Random

#: A number from 0 to below 1. From a source of its own: the global one belongs to programs that seed it.
random = Random().random  # noqa: S311  (no secret)
