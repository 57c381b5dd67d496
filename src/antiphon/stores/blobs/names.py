"""What a blob may be called. The rule is so narrow that a name is a safe path, and a safe key of S3."""

from __future__ import annotations

import re

from antiphon.domain import limits

_LEVEL = re.compile(r"[A-Za-z0-9_-]{1,255}", re.ASCII)


def check_name(name: str) -> str:
    """The name, if it can be one. Raises `ValueError`: names are made by this server, so a wrong one is its fault."""
    levels = name.split("/")
    if len(name) > limits.MAX_BLOB_NAME or len(levels) > limits.MAX_BLOB_LEVELS:
        raise ValueError("the name of a blob is too long, or has too many levels")
    if not all(_LEVEL.fullmatch(level) for level in levels):
        raise ValueError("the name of a blob has characters that it may not have")
    return name


def check_prefix(prefix: str) -> str:
    """The prefix, if it is made of whole levels. Raises `ValueError`."""
    if prefix:
        if not prefix.endswith("/"):
            raise ValueError("a prefix of blobs ends with a slash")
        check_name(prefix[:-1])
    return prefix
