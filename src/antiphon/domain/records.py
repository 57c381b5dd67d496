"""What the store keeps. Bodies are JSON as bytes: they are sent as they are stored, never decoded to be sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

T = TypeVar("T")
Direction = Literal["input", "output"]


@dataclass(frozen=True, slots=True)
class StoredItem:
    """One item of a response. `position` counts from 0 within (response, direction); `body` is the item's JSON."""

    id: str
    position: int
    direction: Direction
    body: bytes


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response. `body` is the whole Response object's JSON; `created_at` is in Unix seconds.

    `owner` names the server instance that is working on it, so that a restarted instance knows what it left unfinished.
    """

    project_id: str
    id: str
    created_at: int
    status: str
    model: str
    body: bytes
    previous_response_id: str | None = None
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class StoredCompletion:
    """A stored chat completion: the answer's JSON, the request's messages (a JSON array), and its metadata."""

    project_id: str
    id: str
    created_at: int
    model: str
    body: bytes
    messages: bytes
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list, in the order asked for."""

    data: list[T]
    has_more: bool
