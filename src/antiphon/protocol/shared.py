"""What every surface says in the same way."""

from __future__ import annotations

from typing import Any, Final

from antiphon.protocol.generation import TokenLogprob

#: Service tiers as answers may show them (schema `ServiceTier`). Other servers have others.
TIERS: Final = frozenset({"default", "flex", "scale", "priority"})


def logprob(token: TokenLogprob) -> dict[str, Any]:
    """A token's log probability (schemas `LogProb` and `ChatCompletionTokenLogprob`)."""
    return {
        "token": token.token,
        "logprob": token.logprob,
        "bytes": token.bytes,
        "top_logprobs": [
            {"token": top.token, "logprob": top.logprob, "bytes": top.bytes} for top in token.top_logprobs
        ],
    }
