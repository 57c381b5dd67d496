"""JSON Schemas and grammars, compiled before a model is held to them.

llama.cpp logs a grammar that does not compile and then generates without one; so each is compiled first, by the same
library, in a process that may break (`engines.schemas`). Where that library cannot enforce a schema fully, the answer
is checked afterwards: `CompiledSchema` says which.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest
from antiphon.engines.llama.grammar import json_rule, only_json, text_rule
from antiphon.engines.schemas.worker import Code, SchemaWorker, TooComplex, schema_text
from antiphon.protocol.generation import Grammar, JsonSchema

#: Compiled schemas and grammars that are remembered.
_CACHE_ENTRIES = 256

Misfit = Callable[[str], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class CompiledSchema:
    """`rule` holds the model to the schema; `enforced` says whether fully. `misfit` tells what is wrong with a text, or
    None if it fits. `raw`: the rule is one of plain text, which ends only with the answer."""

    rule: str
    enforced: bool
    misfit: Misfit
    raw: bool = False


class SchemaCompiler:
    """Compiles each schema once while it is remembered. Used from one event loop."""

    def __init__(self, worker: SchemaWorker | None = None) -> None:
        self._worker = worker or SchemaWorker()
        self._cache: OrderedDict[tuple[str, ...], CompiledSchema] = OrderedDict()

    async def schema(
        self, schema: JsonSchema, *, strict: bool, what: str, code: Code, param: str | None = None
    ) -> CompiledSchema:
        """Compile a schema. Strict: it must be fully enforceable.

        Raises `InvalidRequest` with `code` and `param` and a message that names `what` if the schema is not valid, not
        enforceable though strict, or too large.
        """

        text = schema_text(schema, what=what, code=code, param=param)
        key = ("schema", text, str(strict))
        known = self._known(key)
        if known is not None:
            return known
        rules = _rules(schema)
        _, index = await self._worker.compiled(
            schema, [only_json(rule) for rule in rules], strict=strict, what=what, code=code, param=param
        )
        rule = json_rule({}) if index is None else rules[index]
        enforced = index == 0 and not _has_open_bound(schema)
        return self._remember(key, CompiledSchema(rule, enforced, partial(self._worker.misfit, text)))

    async def text(self, grammar: Grammar, *, what: str, param: str) -> CompiledSchema:
        """Compile the grammar of a tool's free text. Raises `InvalidRequest` with `param` if it does not compile."""
        key = ("text", grammar.syntax, grammar.definition)
        known = self._known(key)
        if known is not None:
            return known
        problem: str = f"it has more than {limits.MAX_SCHEMA_CHARS} characters."
        alone, rule = text_rule(grammar)
        if len(grammar.definition) <= limits.MAX_SCHEMA_CHARS:
            try:
                problem = await self._worker.grammar(alone)
            except TooComplex:
                problem = "it is too complex to compile."
        if problem:
            raise InvalidRequest(f"Invalid grammar for {what}: {problem}", code="invalid_grammar", param=param)
        return self._remember(key, CompiledSchema(rule, True, partial(self._worker.mismatch, alone), raw=True))

    async def grammar(self, text: str) -> str:
        """`text`, once it is known to compile. Raises `InvalidRequest` if it does not."""
        key = ("grammar", text)
        if key not in self._cache:
            try:
                problem = await self._worker.grammar(text)
            except TooComplex:
                problem = "timeout"
            if problem:
                raise InvalidRequest(
                    "The tools and schemas of this request are too complex together.", code="invalid_json_schema"
                )
            self._remember(key, CompiledSchema(text, True, partial(self._worker.mismatch, text)))
        return text

    async def close(self) -> None:
        """Let go of the process; it comes back when it is needed."""
        await self._worker.close()

    def _known(self, key: tuple[str, ...]) -> CompiledSchema | None:
        if key in self._cache:
            self._cache.move_to_end(key)
        return self._cache.get(key)

    def _remember(self, key: tuple[str, ...], compiled: CompiledSchema) -> CompiledSchema:
        self._cache[key] = compiled
        if len(self._cache) > _CACHE_ENTRIES:
            self._cache.popitem(last=False)
        return compiled


def _has_open_bound(value: Any) -> bool:
    """Whether a number that need not be whole has an exclusive bound: llguidance 1.9 lets the bound itself through."""
    if isinstance(value, dict):
        bounds = [value.get("exclusiveMinimum"), value.get("exclusiveMaximum")]
        if value.get("type") != "integer" and any(isinstance(bound, int | float) for bound in bounds):
            return True
        return any(map(_has_open_bound, value.values()))
    return isinstance(value, list) and any(map(_has_open_bound, value))


def _rules(schema: JsonSchema) -> list[str]:
    """The rule of a schema, and looser ones: without unknown keywords, without patterns, of the right type only."""
    kind: JsonSchema = {"type": schema["type"]} if "type" in schema else {}
    loose = [json_rule(each, lenient=True) for each in (schema, _without_patterns(schema), kind)]
    return [json_rule(schema), *loose]


def _without_patterns(value: Any) -> Any:
    """A schema without `pattern`: llguidance's regular expressions cannot look around."""
    if isinstance(value, dict):
        return {
            key: _without_patterns(inner)
            for key, inner in value.items()
            if not (key == "pattern" and isinstance(inner, str))
        }
    return [_without_patterns(inner) for inner in value] if isinstance(value, list) else value
