"""From `Sampling` to the members of llama.cpp's `/completion`."""

from __future__ import annotations

import secrets
from typing import Any

from antiphon.domain.errors import InvalidRequest
from antiphon.models.catalog import ChatSettings
from antiphon.protocol.generation import Sampling

#: llama.cpp's seeds have 32 bits, and this one means "any".
_ANY_SEED = 0xFFFFFFFF
#: OpenAI's defaults (published specification: temperature and top_p are 1 unless given).
_TEMPERATURE, _TOP_P = 1.0, 1.0


def seed_of(sampling: Sampling, attempt: int) -> int:
    """The seed of an attempt: the one asked for, then its successors; random ones if none was asked for."""
    if sampling.seed is None:
        return secrets.randbelow(_ANY_SEED)
    return (sampling.seed + attempt) % _ANY_SEED


def completion_body(sampling: Sampling, chat: ChatSettings, *, context: int, vocabulary_size: int) -> dict[str, Any]:
    """The members that say how tokens are drawn; prompt, seed and length are the caller's. `context` in tokens.

    Raises `InvalidRequest` (param "logit_bias") for a token that the model does not have.
    """
    body: dict[str, Any] = {
        "temperature": _TEMPERATURE if sampling.temperature is None else sampling.temperature,
        "top_p": _TOP_P if sampling.top_p is None else sampling.top_p,
        "top_k": chat.top_k if sampling.top_k is None else max(0, sampling.top_k),
        "min_p": chat.min_p if sampling.min_p is None else sampling.min_p,
        # A seed asks for the same answer again. With a warm cache the prompt is evaluated in other steps, whose sums
        # round differently; so a request with a seed does without.
        "cache_prompt": sampling.seed is None,
    }
    if sampling.frequency_penalty or sampling.presence_penalty:
        body["frequency_penalty"] = sampling.frequency_penalty
        body["presence_penalty"] = sampling.presence_penalty
        # Everything, not the last 64 tokens. llama.cpp counts the prompt's tokens too, OpenAI only the answer's; it has
        # no way to leave them out.
        body["repeat_last_n"] = context
    if sampling.typical_p is not None:
        body["typical_p"] = sampling.typical_p
    if sampling.repetition_penalty is not None:
        body["repeat_penalty"] = sampling.repetition_penalty
        body["repeat_last_n"] = context
    if sampling.logit_bias:
        body["logit_bias"] = _logit_bias(sampling, vocabulary_size)
    if sampling.top_logprobs is not None:
        body["n_probs"] = max(1, sampling.top_logprobs)
    return body


def _logit_bias(sampling: Sampling, vocabulary_size: int) -> list[list[float | bool]]:
    """Pairs of token and bias; -100 is a ban (OpenAI's documented meaning), which llama.cpp writes as false."""
    pairs: list[list[float | bool]] = []
    for token, bias in sampling.logit_bias.items():
        if not 0 <= token < vocabulary_size:
            raise InvalidRequest(
                f"Invalid token id {token}: this model's tokens are 0 to {vocabulary_size - 1}.",
                code="invalid_logit_bias",
                param="logit_bias",
            )
        pairs.append([token, False if bias <= -100 else bias])
    return pairs
