"""Machines as tests build them: ids that count, a clock that stands still."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from antiphon.protocol.chat.machine import ChatMachine
from antiphon.protocol.events import Event
from antiphon.protocol.responses.machine import ResponseMachine
from antiphon.protocol.responses.request import new_response, parse

NOW = 1_795_000_000


def counting_ids() -> Callable[[str], str]:
    """Ids such as `msg_1`, `fc_2`, in the order they are made."""
    numbers = itertools.count(1)
    return lambda prefix: f"{prefix}{next(numbers)}"


def response_machine(**options: Any) -> ResponseMachine:
    """A machine for a minimal request; `body` adds to the request."""
    body = {"model": "m", "input": "hi", **options.pop("body", {})}
    base = {**new_response(parse(body, {}), "m", NOW), "id": "resp_0"}
    settings = {"clock": lambda: NOW + 1.0, "ids": counting_ids(), "obfuscate": False, **options}
    return ResponseMachine(base, **settings)


def chat_machine(**options: Any) -> ChatMachine:
    """A machine for one choice unless `choices` says otherwise."""
    base = {"id": "chatcmpl-0", "created": NOW, "model": "m", "service_tier": "default", "system_fingerprint": "fp_0"}
    return ChatMachine(base, **{"obfuscate": False, **options})


def names(events: list[Event]) -> list[str]:
    """The types of events, shortened: `response.output_text.delta` is `output_text.delta`."""
    return [event.type.removeprefix("response.") for event in events]
