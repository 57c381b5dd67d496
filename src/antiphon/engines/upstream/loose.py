"""What engines for upstreams share beneath what is enforced: an upstream's model, and the answers that run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Protocol

from antiphon.domain.errors import EngineUnavailable, InvalidRequest
from antiphon.domain.routing import Deadlines
from antiphon.engines.upstream.client import UpstreamClient
from antiphon.engines.upstream.profiles import Profile
from antiphon.engines.upstream.reply import Reply
from antiphon.protocol.generation import Generation, Sampling
from antiphon.wire.large import encoded

#: Parameters that are called the same by every surface; others of the upstream's mean nothing to another surface.
_SHARED = frozenset({"model", "temperature", "top_p", "tools", "tool_choice", "parallel_tool_calls", "top_logprobs"})


class Running(Protocol):
    """An answer that runs."""

    def stop(self) -> None:
        """End it now, also for whoever is waiting for more."""


class Loose:
    """The part of `ports.Engine` that is the same for each API of an upstream, and nothing of what it promises."""

    def __init__(
        self, client: UpstreamClient, model: str | None, *, name: str | None, profile: Profile, deadlines: Deadlines
    ) -> None:
        self._client = client
        self._model = model
        self.name = name or model or client.spec.name
        self._profile = profile
        self._deadlines = deadlines
        self._streams: set[Running] = set()
        self._running = True

    async def start(self) -> None:
        """Nothing is asked of the upstream: it may come up later, and the next request finds out."""
        self._running = True

    async def stop(self) -> None:
        """End what is running."""
        self._running = False
        for stream in tuple(self._streams):
            stream.stop()

    async def ready(self) -> bool:
        """Whether it was started. Whether the upstream is up is known when it is asked."""
        return self._running

    def _model_of(self, generation: Generation) -> str:
        """The upstream's name for the model."""
        return self._model or generation.model

    async def _post(self, path: str, body: dict[str, Any], *, streamed: bool) -> Reply:
        if not self._running:
            raise EngineUnavailable("The model is not available.")
        return await self._client.post(path, await encoded(body), stream=streamed, deadlines=self._deadlines)


@contextlib.contextmanager
def in_shared_words() -> Iterator[None]:
    """What the upstream dislikes of a translated request is told with its parameter only if all surfaces have that."""
    try:
        yield
    except InvalidRequest as error:
        if error.param not in _SHARED:
            raise error.restated(param=None) from None
        raise


def asked_by(generation: Generation, profile: Profile) -> dict[str, Any]:
    """Members that both APIs have in the same words and that only some servers take: who asks, and what for."""
    known = {
        "prompt_cache_key": (profile.prompt_cache_key, generation.affinity),
        "service_tier": (profile.tiers, generation.tier),
        "user": (profile.user, generation.user),
        "safety_identifier": (profile.safety_identifier, generation.safety_identifier),
    }
    return {name: value for name, (takes, value) in known.items() if takes and value is not None}


def drawn(sampling: Sampling, profile: Profile) -> dict[str, Any]:
    """How tokens are drawn, as far as both APIs say it in the same words.

    Models that think may refuse temperature and top_p, even where they say what holds anyway.
    """
    fields: dict[str, Any] = {}
    for name in ("temperature", "top_p"):
        value = getattr(sampling, name)
        if value is not None and not (profile.unit_defaults and value == 1):
            fields[name] = value
    for name in ("frequency_penalty", "presence_penalty"):
        if getattr(sampling, name):
            fields[name] = getattr(sampling, name)
    return fields
