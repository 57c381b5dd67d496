"""The process that compiles and checks. Run as `python -m antiphon.engines.schemas.child`.

It reads questions from stdin and answers them on stdout, one line of JSON each, until stdin ends. A question that costs
more processor time than it may, or more memory or stack, ends the process: nothing else can interrupt a library that
does not return. Its parent takes that for the answer, and starts another.
"""

from __future__ import annotations

import json
import re
import resource
import signal
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import jsonschema_rs
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

Json = dict[str, Any]

_PREFIX = "%llguidance {}\n"
_END = 256
#: A pattern of a schema gives up after this many steps instead of running for ever.
_BACKTRACK_LIMIT = 100_000
#: Compiled schemas that are remembered: an answer is checked soon after its schema was compiled.
_CACHE_ENTRIES = 64
#: With what an object or a list may begin, and how many beginnings in one text are tried.
_OPENING = re.compile(r"[\[{]")
_TRIES = 256
#: Less than the threads of any llama.cpp server have: what passes here cannot overflow there.
_STACK = 448 * 1024
_MEMORY = 2 * 1024 * 1024 * 1024


class BadSchemaError(Exception):
    """Why a schema cannot be used."""


def main() -> None:
    """Answer questions until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the parent
    with suppress(ValueError, OSError):  # not every system keeps to it, and some refuse
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.stack_size(_STACK)
    worker = threading.Thread(target=_serve)
    worker.start()
    worker.join()


def _serve() -> None:
    print("{}", flush=True)  # everything is imported
    for line in sys.stdin.buffer:
        question: Json = json.loads(line)
        seconds: float = question.pop("seconds")
        # The signal's default action ends the process, whatever it is doing. It counts processor time, so a busy
        # machine does not make a schema look slow.
        signal.setitimer(signal.ITIMER_PROF, seconds)
        answer = _QUESTIONS[question.pop("ask")](**question)
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(answer), flush=True)


# --- compiling --------------------------------------------------------------------------------------------------------
def compile_schema(schema: str, rules: Sequence[str], *, strict: bool) -> Json:
    """Which of `rules` (grammars, from the strictest to the loosest) is the first that compiles, as `{"rule": index}`.

    `{"error": why}` if `schema` is not valid, or if it is strict and its first rule does not compile.
    """
    try:
        validator(schema)
    except BadSchemaError as error:
        return {"error": str(error)}
    for index, rule in enumerate(rules):
        problem = grammar_problem(rule)
        if not problem:
            return {"rule": index}
        if strict:
            return {"error": problem}
    return {"rule": None}


def compile_grammar(grammar: str) -> Json:
    """`{"error": why}` if `grammar` does not compile."""
    return {"error": grammar_problem(grammar)}


def grammar_problem(grammar: str) -> str:
    """Why a grammar does not compile; empty if it does."""
    error: str = LLMatcher.validate_grammar(grammar.removeprefix(_PREFIX))
    if not error:
        return ""
    reason = error.rpartition("failed to compile JSON schema: ")[2]
    return " ".join(reason.split("   1 | ")[0].split()) or "it cannot be compiled"


_validators: OrderedDict[str, Any] = OrderedDict()


def validator(schema: str) -> Any:
    """The compiled schema. Raises `BadSchemaError` if it is not a valid one."""
    known = _validators.pop(schema, None)
    if known is None:
        try:
            known = jsonschema_rs.validator_for(
                json.loads(schema),
                offline=True,  # a schema must not make us fetch addresses or read files
                pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACK_LIMIT),
            )
        except (ValueError, RecursionError, jsonschema_rs.ReferencingError) as error:
            raise BadSchemaError(str(error).split("\n", 1)[0]) from None
    _validators[schema] = known
    if len(_validators) > _CACHE_ENTRIES:
        _validators.popitem(last=False)
    return known


# --- checking ---------------------------------------------------------------------------------------------------------
def check_json(schema: str, text: str) -> Json:
    """`{"error": why}` if the JSON `text` does not fit `schema`, else `{"error": ""}`."""
    try:
        validator(schema).validate(json.loads(text, parse_constant=_no_constant))
    except (ValueError, RecursionError, BadSchemaError) as error:
        return {"error": str(error).split("\n", 1)[0] or "it does not fit"}
    return {"error": ""}


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def check_text(grammar: str, text: str) -> Json:
    """`{"error": why}` if `grammar` does not allow `text`, else `{"error": ""}`."""
    matcher = LLMatcher(_tokenizer(), grammar.removeprefix(_PREFIX))
    data = list(text.encode())
    if matcher.is_error():
        return {"error": "the grammar does not compile"}
    fits = matcher.try_consume_tokens(data) == len(data) and matcher.is_accepting()
    return {"error": "" if fits else "the grammar does not allow it"}


def repair_json(text: str) -> Json:
    """`{"text": repaired}`: JSON text out of what a model wrote for it; empty if nothing in it is like JSON."""
    from json_repair import repair_json as repaired  # few answers need it

    try:
        made = repaired(text, ensure_ascii=False)
        json.loads(made, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return {"text": ""}
    return {"text": made}


def find_json(schema: str, text: str) -> Json:
    """`{"text": found}`: the first complete object or list within `text` that fits `schema`; empty if there is none."""
    decoder = json.JSONDecoder(parse_constant=_no_constant)
    for tries, match in enumerate(_OPENING.finditer(text)):
        if tries == _TRIES:
            break
        try:
            value, end = decoder.raw_decode(text, match.start())
            validator(schema).validate(value)
        except (ValueError, RecursionError, BadSchemaError):
            continue
        return {"text": text[match.start() : end]}
    return {"text": ""}


class _Bytes:
    """The smallest vocabulary: each byte, and the end."""

    eos_token_id = _END
    bos_token_id = None
    tokens: Sequence[bytes] = [*(bytes([value]) for value in range(256)), b"\xff<end>"]

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


_made: list[Any] = []


def _tokenizer() -> Any:
    if not _made:
        _made.append(LLTokenizer(TokenizerWrapper(_Bytes())))
    return _made[0]


_QUESTIONS: dict[str, Callable[..., Json]] = {
    "schema": compile_schema,
    "grammar": compile_grammar,
    "json": check_json,
    "text": check_text,
    "find": find_json,
    "repair": repair_json,
}

if __name__ == "__main__":
    main()
