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
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any

import jsonschema_rs

from antiphon.engines.schemas import enforce
from antiphon.engines.schemas.enforce.values import checker
from antiphon.engines.schemas.guidance import Matcher

Json = dict[str, Any]

_PREFIX = "%llguidance {}\n"
#: Compiled schemas and grammars that are remembered: an answer is checked soon after its schema was compiled.
_CACHE_ENTRIES = 64
#: Texts that are watched while they are made.
_WATCHED = 256
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
    Matcher('start: "x"')  # the engine's library is there, or this process ends and says why
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
@lru_cache(maxsize=_CACHE_ENTRIES)
def _compiled(schema: str, *, strict: bool, arguments: bool) -> Json:
    try:
        wanted = enforce.normalised(json.loads(schema))
        text = json.dumps(wanted)
        validator(text)
        made = enforce.compile_schema(wanted, strict=strict, arguments=arguments)
    except (BadSchemaError, RecursionError) as error:
        return {"error": str(error) if isinstance(error, BadSchemaError) else "it nests too deeply."}
    if not made.grammar:
        return {"error": "no value can fit it."}
    if strict and made.unknown:
        return {"error": f"'{made.unknown[0]}' is not a valid format."}
    rule, dropped = f"%lark {{\n{made.grammar}}}", made.dropped
    if problem := grammar_problem(f"start: {rule}\n"):
        # What is left is that it is JSON.
        rule, dropped = "%json {}", {**dropped, "the schema": f"the engine does not take its grammar ({problem[:120]})"}
    why = next((f"'{keyword}' cannot be enforced: {reason}" for keyword, reason in dropped.items()), "")
    return {"schema": text, "rule": rule, "unenforced": why}


def compile_schema(schema: str, *, strict: bool, arguments: bool) -> Json:
    """A schema as `{"schema": in the words of the libraries, "rule": for a grammar, "unenforced": why not fully}`.

    `{"error": why}` if it is not valid, or if nothing can fit it. Strict: nothing is left to the engine's taste, and
    formats must be known ones. `arguments`: it is one of a function's arguments.
    """
    return _compiled(schema, strict=strict, arguments=arguments)


def compile_grammar(grammar: str) -> Json:
    """`{"error": why}` if `grammar` does not compile."""
    return {"error": grammar_problem(grammar)}


def grammar_problem(grammar: str) -> str:
    """Why a grammar does not compile; empty if it does."""
    return " ".join(Matcher(grammar.removeprefix(_PREFIX)).problem.split("   1 | ")[0].split())


_validators: OrderedDict[str, Any] = OrderedDict()


def validator(schema: str) -> Any:
    """The compiled schema. Raises `BadSchemaError` if it is not a valid one."""
    known = _validators.pop(schema, None)
    if known is None:
        try:
            known = checker(json.loads(schema))
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
    matcher = Matcher(grammar.removeprefix(_PREFIX))
    if matcher.problem:
        return {"error": "the grammar does not compile"}
    data = text.encode()
    fits = matcher.take(data) == len(data) and matcher.complete
    return {"error": "" if fits else "the grammar does not allow it"}


# --- watching ---------------------------------------------------------------------------------------------------------
_watched: OrderedDict[str, tuple[Matcher, int]] = OrderedDict()


def watch_text(name: str, at: int, text: str, *, end: bool, grammar: str | None = None) -> Json:
    """Go on with the text `name`, of which `at` bytes are known: `{"error": what breaks its grammar}`, or "".

    `end`: it ends here. `grammar`: with the first piece. `{"lost": true}` if it is not known so far: then it must be
    sent again from its beginning.
    """
    if grammar is not None:
        _watched[name] = (Matcher(grammar.removeprefix(_PREFIX)), 0)
    matcher, known = _watched.pop(name, (None, 0))
    if matcher is None or known != at:
        return {"lost": True}
    data = text.encode()
    taken = matcher.take(data)
    if taken < len(data):
        return {"error": f"byte {at + taken} is not allowed"}
    if end:
        return {"error": "" if matcher.complete else f"it may not end after {at + taken} bytes"}
    _watched[name] = (matcher, at + taken)
    if len(_watched) > _WATCHED:
        _watched.popitem(last=False)
    return {"error": ""}


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


_QUESTIONS: dict[str, Callable[..., Json]] = {
    "schema": compile_schema,
    "grammar": compile_grammar,
    "json": check_json,
    "text": check_text,
    "watch": watch_text,
    "find": find_json,
    "repair": repair_json,
}

if __name__ == "__main__":
    main()
