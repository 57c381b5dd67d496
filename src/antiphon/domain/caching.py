"""The cache of answers: what a client asks of it, what it holds, and its state by project."""

from __future__ import annotations

from dataclasses import dataclass

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest

#: A project's rule by which nothing of it is ever cached.
OFF = 0
#: The request header that speaks of this cache.
HEADER = "X-Antiphon-Cache"


@dataclass(frozen=True, slots=True)
class CacheControl:
    """What one request asks of the cache.

    `read`: it may be given a cached answer; `keep`: its answer may be cached. `wanted`: it turns the cache on, also
    where its route and its project do not. `max_age`: how old an answer may be (seconds).
    """

    read: bool = True
    keep: bool = True
    wanted: bool = False
    max_age: int | None = None


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """An answer that is kept. `key` tells nothing about what was asked; `body` is the answer as its engine gave it.

    `upstream` and `model` name the target that made it. Times are Unix seconds.
    """

    project_id: str
    key: bytes
    created_at: int
    expires_at: int
    upstream: str
    model: str
    body: bytes


@dataclass(frozen=True, slots=True)
class CacheState:
    """What is known of a project's cache. `ttl`: None: each route's own rule holds; `OFF`; else seconds.

    `answers` and `bytes`: what is kept of it now, whatever has expired since included.
    """

    project_id: str
    ttl: int | None
    answers: int
    bytes: int


def cache_control_of(ours: str | None, cache_control: str | None) -> CacheControl | None:
    """What a request's headers ask; None: nothing. Raises `InvalidRequest` for a value of ours that is none.

    `ours` is the header `X-Antiphon-Cache`: "on", "off", or a number of seconds. Of `Cache-Control` (RFC 9111, section
    5.2.1) three directives count, and as there, whatever else it says is passed over.
    """
    if ours is None and cache_control is None:
        return None
    asked = _ours(ours.strip().lower()) if ours is not None else None
    if not cache_control:
        return asked
    asked = asked or CacheControl()
    read, keep, max_age = asked.read, asked.keep, asked.max_age
    for directive in cache_control.lower().split(","):
        name, _, value = directive.strip().partition("=")
        if name == "no-store":
            read = keep = False
        elif name == "no-cache":
            read = False
        elif name == "max-age" and _is_count(value):
            age = min(int(value), limits.MAX_CACHE_TTL)
            max_age = age if max_age is None else min(age, max_age)
    control = CacheControl(read, keep, asked.wanted, max_age)
    return None if control == CacheControl() else control


def _ours(value: str) -> CacheControl:
    if value == "on":
        return CacheControl(wanted=True)
    if value == "off":
        return CacheControl(read=False, keep=False)
    if _is_count(value) and 1 <= int(value) <= limits.MAX_CACHE_TTL:
        return CacheControl(wanted=True, max_age=int(value))
    raise InvalidRequest(
        f"The header '{HEADER}' must be 'on', 'off', or a number of seconds from 1 to {limits.MAX_CACHE_TTL}.",
        code="invalid_header",
        param=HEADER,
    )


def _is_count(text: str) -> bool:
    """Whether this is a whole number; one of more digits than any of ours is none."""
    return text.isascii() and text.isdigit() and len(text) <= 10
