"""What is asked of each contender, and what it must come to."""

from __future__ import annotations

from dataclasses import dataclass

from bench.gateway import contenders
from bench.gateway.contenders import Start
from bench.gateway.mock import MODEL

_MESSAGES = f'"messages":[{{"role":"system","content":"Be brief."}},{{"role":"user","content":"{"Say words. " * 20}"}}]'


@dataclass(frozen=True, slots=True)
class Case:
    """One request, and who answers it."""

    name: str
    path: str
    body: bytes
    contenders: tuple[str, ...]


CHAT = Case(
    "chat",
    "/v1/chat/completions",
    f'{{"model":"{MODEL}",{_MESSAGES}}}'.encode(),
    ("direct", "reference", "ours", "smg", "litellm"),
)
STREAM = Case(
    "stream",
    "/v1/chat/completions",
    f'{{"model":"{MODEL}",{_MESSAGES},"stream":true}}'.encode(),
    ("direct", "reference", "ours", "smg", "litellm"),
)
RESPONSES = Case(
    "responses",
    "/v1/responses",
    f'{{"model":"{MODEL}","input":"{"Say words. " * 20}","store":true,"stream":true}}'.encode(),
    ("ours", "smg-responses"),
)
CASES = (CHAT, STREAM, RESPONSES)

STARTS: dict[str, Start] = {
    "reference": contenders.reference,
    "ours": contenders.ours,
    "smg": contenders.smg,
    "smg-responses": contenders.smg_responses,
    "litellm": contenders.litellm,
}
PEERS = ("smg", "smg-responses", "litellm")


@dataclass(frozen=True, slots=True)
class Target:
    """Ours against another, with 32 connections: our rate must be `must` times theirs, and should be `aim` times."""

    case: str
    other: str
    must: float
    aim: float


TARGETS = (
    Target("chat", "reference", 0.65, 0.65),
    Target("chat", "litellm", 25, 25),
    Target("chat", "smg", 0, 1),
    Target("stream", "reference", 0.65, 0.65),
    Target("stream", "litellm", 30, 30),
    Target("stream", "smg", 0, 1),
    Target("responses", "smg-responses", 1, 1.5),
)
#: Milliseconds that ours may add to the median of one connection.
ADDED_MUST, ADDED_AIM = 1.0, 0.5
#: MB that memory may grow by in 100,000 calls.
SLOPE_MUST = 1.0
