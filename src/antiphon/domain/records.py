"""What the store keeps. Bodies are JSON as bytes: they are sent as they are stored, never decoded to be sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

T = TypeVar("T")
#: Statuses of responses that are still to reach their end.
UNFINISHED = frozenset({"queued", "in_progress"})
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
    """A response. `body` is the whole Response object's JSON; `created_at` and `expires_at` are in Unix seconds.

    `owner` names the worker that makes it, or made it last: only that one may change it. A background response is made
    by a job of the same id (`domain.jobs`).
    """

    project_id: str
    id: str
    created_at: int
    status: str
    model: str
    body: bytes
    previous_response_id: str | None = None
    owner: str | None = None
    background: bool = False
    conversation_id: str | None = None
    expires_at: int | None = None

    @property
    def ended(self) -> bool:
        """Whether it has reached its terminal state."""
        return self.status not in UNFINISHED


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Events of a response as they are sent: `count` of them from sequence number `first`, joined in `payload`.

    `progress` is the engine's own note of how far it had come, for going on after a crash.
    """

    first: int
    count: int
    payload: bytes
    progress: bytes | None = None


@dataclass(frozen=True, slots=True)
class EventPage:
    """Part of a response's event log. `start` is the first sequence number that is still kept; None if none is.

    `ended`: the response has ended and there is nothing after these.
    """

    batches: list[EventBatch]
    start: int | None
    ended: bool


@dataclass(frozen=True, slots=True)
class StoredConversation:
    """A conversation. `metadata` is a JSON object; `created_at` is in Unix seconds."""

    project_id: str
    id: str
    created_at: int
    metadata: bytes


@dataclass(frozen=True, slots=True)
class ConversationItem:
    """One item of a conversation; `body` is its JSON."""

    id: str
    body: bytes


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
class StoredPrompt:
    """A prompt. `published`: the version that answers when a request names none; `latest`: the newest version."""

    project_id: str
    id: str
    name: str
    created_at: int
    published: int | None
    latest: int


@dataclass(frozen=True, slots=True)
class StoredPromptVersion:
    """One version of a prompt, counted from 1. It never changes. `body` is the template's JSON."""

    prompt_id: str
    version: int
    created_at: int
    body: bytes


@dataclass(frozen=True, slots=True)
class KeyClaim:
    """A request that was sent with an idempotency key. `owner` names this one attempt at answering it.

    `fingerprint`: keyed hash of its method, path and body.
    """

    project_id: str
    key: bytes
    fingerprint: bytes
    owner: str


@dataclass(frozen=True, slots=True)
class KeyState:
    """What is known of an idempotency key that is taken. `status` is None while the first request still runs.

    A `status` without a `body`: it was answered, and the answer is not kept.
    """

    fingerprint: bytes
    status: int | None
    content_type: str | None
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list, in the order asked for."""

    data: list[T]
    has_more: bool
