"""JSON Schemas and grammars, compiled before a model is held to them.

llama.cpp logs a grammar that does not compile and then generates without one; so each is compiled here first, by the
same library. Where that library cannot enforce a schema fully, the answer is checked afterwards: `CompiledSchema`
says which.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest
from antiphon.engines.llama.grammar import json_rule, only_json
from antiphon.protocol.generation import JsonSchema

_PREFIX = "%llguidance {}\n"
#: Compiled schemas and grammars that are remembered.
_CACHE_ENTRIES = 256
#: A pattern of a schema gives up after this many steps instead of running for ever.
_BACKTRACK_LIMIT = 100_000

Code = Literal["invalid_schema", "invalid_function_parameters"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CompiledSchema:
    """`rule` holds the model to the schema; `enforced` says whether fully. `misfit` tells what is wrong with a JSON
    text, or None if it fits."""

    rule: str
    enforced: bool
    misfit: Callable[[str], str | None]


class SchemaCompiler:
    """Compiles in threads of its own, each schema once while it is remembered."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        self._cache: OrderedDict[tuple[str, ...], Any] = OrderedDict()

    async def schema(self, schema: JsonSchema, *, strict: bool, what: str, code: Code) -> CompiledSchema:
        """Compile a schema. Strict: it must be fully enforceable.

        Raises `InvalidRequest` with `code` and a message that names `what` if the schema is not valid, not enforceable
        though strict, or too large.
        """
        try:
            text = json.dumps(schema)
        except (TypeError, ValueError, RecursionError):
            raise InvalidRequest(f"Invalid schema for {what}: it is not JSON.", code=code) from None
        if len(text) > limits.MAX_SCHEMA_CHARS:
            raise InvalidRequest(
                f"Invalid schema for {what}: it has {len(text)} characters, the limit is {limits.MAX_SCHEMA_CHARS}.",
                code=code,
            )
        try:
            return await self._once(("schema", text, str(strict)), lambda: _compile(text, strict=strict))
        except _BadSchemaError as error:
            raise InvalidRequest(f"Invalid schema for {what}: {error}", code=code) from None
        except TimeoutError:
            raise InvalidRequest(f"Invalid schema for {what}: it is too complex to compile.", code=code) from None

    async def grammar(self, text: str) -> str:
        """`text`, once it is known to compile. Raises `InvalidRequest` if it does not."""
        try:
            problem = await self._once(("grammar", text), lambda: _problem(text))
        except TimeoutError:
            problem = "timeout"
        if problem:
            raise InvalidRequest(
                "The tools and schemas of this request are too complex together.", code="invalid_schema"
            )
        return text

    def close(self) -> None:
        """Let go of the threads; they come back when they are needed."""
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)

    async def _once(self, key: tuple[str, ...], work: Callable[[], T]) -> T:
        if key in self._cache:
            self._cache.move_to_end(key)
            known: T = self._cache[key]
            return known
        if self._threads is None:
            self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="grammar")
        async with asyncio.timeout(limits.GRAMMAR_TIMEOUT):
            result = await asyncio.get_running_loop().run_in_executor(self._threads, work)
        self._cache[key] = result
        if len(self._cache) > _CACHE_ENTRIES:
            self._cache.popitem(last=False)
        return result


class _BadSchemaError(Exception):
    """Why a schema cannot be used."""


def _compile(text: str, *, strict: bool) -> CompiledSchema:
    schema: JsonSchema = json.loads(text)
    misfit = _misfit(schema)
    rule = json_rule(schema)
    problem = _problem(only_json(rule))
    if not problem:
        return CompiledSchema(rule=rule, enforced=not _has_open_bound(schema), misfit=misfit)
    if strict:
        raise _BadSchemaError(problem)
    return CompiledSchema(rule=_loose_rule(schema), enforced=False, misfit=misfit)


def _has_open_bound(value: Any) -> bool:
    """Whether a number that need not be whole has an exclusive bound: llguidance 1.9 lets the bound itself through."""
    if isinstance(value, dict):
        bounds = [value.get("exclusiveMinimum"), value.get("exclusiveMaximum")]
        if value.get("type") != "integer" and any(isinstance(bound, int | float) for bound in bounds):
            return True
        return any(map(_has_open_bound, value.values()))
    return isinstance(value, list) and any(map(_has_open_bound, value))


def _loose_rule(schema: JsonSchema) -> str:
    """The closest rule that compiles: without unknown keywords, then without patterns, then of the right type only."""
    kind: JsonSchema = {"type": schema["type"]} if "type" in schema else {}
    rules = [json_rule(each, lenient=True) for each in (schema, _without_patterns(schema), kind)]
    return next((rule for rule in rules if not _problem(only_json(rule))), json_rule({}))


def _without_patterns(value: Any) -> Any:
    """A schema without `pattern`: llguidance's regular expressions cannot look around."""
    if isinstance(value, dict):
        return {
            key: _without_patterns(inner)
            for key, inner in value.items()
            if not (key == "pattern" and isinstance(inner, str))
        }
    return [_without_patterns(inner) for inner in value] if isinstance(value, list) else value


def _problem(grammar: str) -> str:
    """Why a grammar does not compile; empty if it does."""
    from llguidance import LLMatcher  # 10 MB that a process without schemas does not pay

    error: str = LLMatcher.validate_grammar(grammar.removeprefix(_PREFIX))
    if not error:
        return ""
    reason = error.rpartition("failed to compile JSON schema: ")[2]
    return " ".join(reason.split("   1 | ")[0].split()) or "it cannot be compiled"


def _misfit(schema: JsonSchema) -> Callable[[str], str | None]:
    """A check of JSON texts against `schema`. Raises `_BadSchemaError` if it is not a valid schema."""
    import jsonschema_rs  # 10 MB that a process without schemas does not pay

    try:
        validator = jsonschema_rs.validator_for(
            dict(schema),
            offline=True,  # a schema must not make us fetch addresses or read files
            pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACK_LIMIT),
        )
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        raise _BadSchemaError(str(error).split("\n", 1)[0]) from None

    def misfit(text: str) -> str | None:
        try:
            validator.validate(json.loads(text))
        except (ValueError, RecursionError) as error:
            return str(error).split("\n", 1)[0]
        return None

    return misfit
