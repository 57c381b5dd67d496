"""How much output a request may have: by the API's own limit, and by fields that other servers know.

Servers have many words for an output limit and for several answers at once, and what of a request we do not know is
passed on to them. Where money or tokens are limited, all of these words count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest
from antiphon.protocol.generation import Generation

#: Fields that set how long an answer may be, or must be, by their letters alone: OpenAI's, vLLM's and SGLang's, those
#: of text-generation-inference, of Ollama (`num_predict`) and llama.cpp (`n_predict`), of Gemini and Anthropic.
_LENGTHS = frozenset(
    {
        *("maxtokens", "maxcompletiontokens", "maxoutputtokens", "maxnewtokens", "maxlength", "maxlen", "maxgenlen"),
        *("maxgentokens", "maxgeneratedtokens", "maxtokenstosample", "maxdecodetokens", "maxanswertokens"),
        *("numpredict", "npredict", "numtokens", "ntokens", "tokenstogenerate", "outputlength", "outputlen"),
        *("mintokens", "minnewtokens", "minlength", "minoutputtokens", "mincompletiontokens", "minpredict"),
        *("budgettokens", "thinkingbudget", "thinkingbudgettokens", "maxthinkingtokens", "maxreasoningtokens"),
    }
)
#: Fields that ask for several answers, of which all are paid for.
_TIMES = frozenset(
    {
        *("n", "bestof", "numreturnsequences", "numbeams", "beamwidth", "beamsize", "candidatecount", "numcandidates"),
        *("numcompletions", "numchoices", "numgenerations", "numoutputs", "numsamples", "ncompletions"),
    }
)
#: Fields that have another model answer than the one that was asked for, and priced (OpenRouter, LiteLLM).
_MODELS = frozenset({"models", "fallbacks", "fallbackmodels", "contextwindowfallbackdict"})
_LETTERS = str.maketrans("", "", "_-. ")


class Outputs(NamedTuple):
    """What fields that we do not know ask for: tokens of an answer (0: they say nothing), and how many answers."""

    tokens: int = 0
    times: int = 1


_NOTHING = Outputs()


def outputs(generation: Generation) -> Outputs:
    """What is asked for beside the API's own limit.

    Raises `InvalidRequest` for a field that could not be counted, with its path as the parameter.
    """
    passthrough = generation.passthrough
    predicted = (
        passthrough.body.get("prediction") if passthrough is not None and passthrough.surface == "chat" else None
    )
    if not generation.extra and predicted is None:
        return _NOTHING
    # A prediction that does not come true is paid for as output.
    tokens = 0 if predicted is None else len(msgspec.json.encode(predicted)) // 3
    times = 1
    for path, name, value in _members(generation.extra):
        if name in _LENGTHS:
            tokens = max(tokens, _number(path, value))
        elif name in _TIMES:
            times = min(limits.MAX_TOKENS, times * _number(path, value))
        elif name in _MODELS and value:
            raise _refused(path, "it names other models, and a limit applies to this call")
    return Outputs(tokens, times)


def limited(generation: Generation, most: int) -> Generation:
    """The generation with an output limit, in our words and in the client's own."""
    sampling = msgspec.structs.replace(generation.sampling, max_tokens=most)
    passthrough = generation.passthrough
    if passthrough is not None:
        body = {name: value for name, value in passthrough.body.items() if name != "max_tokens"}
        body["max_completion_tokens" if passthrough.surface == "chat" else "max_output_tokens"] = most
        passthrough = msgspec.structs.replace(passthrough, body=body)
    return msgspec.structs.replace(generation, sampling=sampling, passthrough=passthrough)


def _members(extra: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """All members, however deep: their path, their name by its letters, and their value."""
    waiting: list[tuple[str, Any]] = [("", extra)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, Mapping):
            for key, inner in value.items():
                where = f"{path}.{key}" if path else key
                yield where, key.translate(_LETTERS).lower(), inner
                if isinstance(inner, dict | list):
                    waiting.append((where, inner))
        else:
            waiting += [(path, inner) for inner in value if isinstance(inner, dict | list)]


def _number(path: str, value: Any) -> int:
    """A count, written in whatever way servers take one. None is none."""
    if value is None:
        return 1
    if isinstance(value, str) and len(value) < 16 and value.isascii() and value.strip().isdigit():
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= limits.MAX_TOKENS:
        raise _refused(
            path, f"it must be a whole number from 1 to {limits.MAX_TOKENS}, since a limit applies to this call"
        )
    return value


def _refused(path: str, why: str) -> InvalidRequest:
    shown = path[: limits.MAX_LABEL]
    return InvalidRequest(f"Invalid '{shown}': {why}.", code="invalid_value", param=shown)
