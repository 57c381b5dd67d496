"""What is different from API to API of upstreams: a dialect says how to ask, and how to read the answer.

Everything else is the same for all of them, and is written once: what is enforced and what is passed through
(`engine.py`), connections, deadlines and retries of a stale connection (`client.py`, `http1/`), the stream of one
answer (`stream.py`), errors (`errors.py`), and what kinds of servers can do (`profiles.py`).

A further API is one module with one subclass of `Dialect`, and one line in `app/engines.py` that names it. It needs:

- `path`, where generations are asked for, and `body`, the request for a `Generation`;
- `parser`, an `AnswerParser` that makes neutral deltas of the answer's events, or of a whole body. It is sans-IO: bytes
  in, deltas out, and tested without a server;
- `capabilities`, only where the API itself cannot do what a profile may promise.

A dialect whose requests are a surface's own as well may pass those through untranslated: it names the surface in
`surface`, and implements `passes_through`, `passthrough_body` and `passthrough_parser`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, Protocol

from antiphon.engines.upstream import tokens
from antiphon.engines.upstream.client import UpstreamClient
from antiphon.engines.upstream.profiles import Profile, profile_named
from antiphon.engines.upstream.usage import OutputMeter
from antiphon.ports import Capabilities
from antiphon.protocol.generation import Delta, Generation, Passthrough

Json = dict[str, Any]


class AnswerParser(Protocol):
    """Turns one answer, which comes in as events or as a whole, into deltas. Sans-IO."""

    @property
    def finished(self) -> bool:
        """Whether the server has said why the answer ended: what may still come is its usage."""

    def feed(self, data: bytes, name: str = "message") -> list[Delta]:
        """The deltas that an event makes. `name`: the event's type, as its own line says it.

        Raises the error that the event is, or `UpstreamFailed` if it makes no sense.
        """

    def whole(self, data: bytes) -> list[Delta]:
        """The deltas of a whole answer, but for the last."""

    def finish(self) -> list[Delta]:
        """The last deltas. Raises `UpstreamFailed` if the answer was not at its end."""


class Dialect(ABC):
    """One API, as one upstream speaks it."""

    #: Where a generation is asked for, below the upstream's address.
    path: ClassVar[str]
    #: The surface whose requests may be sent on as they are; None: none.
    surface: ClassVar[Literal["chat", "responses"] | None] = None
    #: Whether the answer is over with the event that finishes it, whether or not the stream is.
    ends_with_last_event: ClassVar[bool] = False
    #: Whether deltas that come at once may be given as one `Batch`.
    batches: ClassVar[bool] = False

    def __init__(self, client: UpstreamClient, profile: Profile) -> None:
        self._client = client
        self._profile = profile

    @classmethod
    def profile_for(cls, name: str) -> Profile:
        """The profile of this name. Raises `SetupError` if there is none."""
        return profile_named(name)

    def capabilities(self, context_tokens: int) -> Capabilities:
        """What such a server can do, as its profile says; nothing of it is enforced by the server."""
        profile = self._profile
        return Capabilities(
            context_tokens=context_tokens,
            images=profile.images,
            files=profile.files,
            audio=profile.audio,
            logprobs=profile.logprobs,
            logit_bias=profile.logit_bias,
            constrains=False,
            passes_extra=profile.extra,
            passthrough=frozenset() if self.surface is None else frozenset({self.surface}),
        )

    @abstractmethod
    def body(self, generation: Generation, model: str) -> Json:
        """The request for a generation. Raises `InvalidRequest` for what this API cannot say."""

    @abstractmethod
    def parser(self, generation: Generation, meter: OutputMeter) -> AnswerParser:
        """What reads the answer to it. `meter`: measures how much is said."""

    def passes_through(self, generation: Generation, passthrough: Passthrough) -> bool:
        """Whether the client's own request, of this dialect's surface, is sent on as it is.

        Raises `InvalidRequest` if it has to be translated and cannot be.
        """
        return False

    def passthrough_body(self, generation: Generation, passthrough: Passthrough, model: str) -> Json:
        """The client's own request as it is sent on."""
        raise NotImplementedError

    def passthrough_parser(
        self, generation: Generation, passthrough: Passthrough, meter: OutputMeter, *, name: str, streamed: bool
    ) -> AnswerParser:
        """What reads the answer to it. `name`: the model's, as answers show it. `streamed`: the answer is a stream."""
        raise NotImplementedError

    async def count_tokens(self, generation: Generation, model: str) -> int:
        """Input tokens, as the server counts them where it does; else estimated."""
        return tokens.estimate(generation)
