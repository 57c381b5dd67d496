"""JSON Schemas and grammars, compiled before a model is held to them.

llama.cpp logs a grammar that does not compile and then generates without one; so each is compiled first, by the library
that is linked into it, in a process that may break (`engines.schemas`). Schemas become grammars of our own making,
which let through only what fits. Where something cannot be put into a grammar, the answer is checked afterwards:
`CompiledSchema` says so.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest
from antiphon.engines.llama.grammar import text_rule
from antiphon.engines.schemas.checker import TooComplex
from antiphon.engines.schemas.worker import Code, SchemaWorker, refused, schema_text
from antiphon.protocol.generation import Grammar, JsonSchema

#: Compiled schemas and grammars that are remembered.
_CACHE_ENTRIES = 256
#: Strings, regular expressions and comments of Lark.
_LITERALS = re.compile(r'"(?:[^"\\\n]|\\.)*"|/(?!/)(?:[^/\\\n]|\\.)+/|//[^\n]*')
#: What counts tokens or names them. What is enforced is text, however it is cut into tokens.
_TOKENS = re.compile(r"max_tokens|<")

Misfit = Callable[[str], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class CompiledSchema:
    """`rule` holds the model to the schema; `enforced` says whether fully. `misfit` tells what is wrong with a text, or
    None if it fits. `raw`: the rule is one of plain text, which ends only with the answer. `strict`: nothing that does
    not fit may be handed out."""

    rule: str
    enforced: bool
    misfit: Misfit
    raw: bool = False
    strict: bool = True


class SchemaCompiler:
    """Compiles each schema once while it is remembered. Used from one event loop."""

    def __init__(self, worker: SchemaWorker | None = None) -> None:
        self.worker = worker or SchemaWorker()
        self._cache: OrderedDict[tuple[str, ...], CompiledSchema] = OrderedDict()

    async def schema(
        self, schema: JsonSchema, *, strict: bool, what: str, code: Code, param: str | None = None
    ) -> CompiledSchema:
        """Compile a schema. Strict: it must be fully enforceable.

        Raises `InvalidRequest` with `code` and `param` and a message that names `what` if the schema is not valid, not
        enforceable though strict, or too large, or if nothing can fit it.
        """
        arguments = code == "invalid_function_parameters"
        key = ("schema", schema_text(schema, what=what, code=code, param=param), f"{strict} {arguments}")
        known = self._known(key)
        if known is not None:
            return known
        found = await self.worker.admit(schema, strict=strict, what=what, code=code, param=param)
        if strict and found.unenforced:
            raise refused(found.unenforced, what=what, code=code, param=param)
        misfit = partial(self.worker.misfit, found.text)
        return self._remember(key, CompiledSchema(found.rule, not found.unenforced, misfit, strict=strict))

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
                problem = await self.worker.grammar(alone)
            except TooComplex:
                problem = "it is too complex to compile."
        if not problem and grammar.syntax == "lark" and _TOKENS.search(_LITERALS.sub("", grammar.definition)):
            problem = "it counts or names tokens, which is not supported; only text is."
        if problem:
            raise InvalidRequest(f"Invalid grammar for {what}: {problem}", code="invalid_grammar", param=param)
        return self._remember(key, CompiledSchema(rule, True, partial(self.worker.mismatch, alone), raw=True))

    async def grammar(self, text: str) -> str:
        """`text`, once it is known to compile. Raises `InvalidRequest` if it does not."""
        key = ("grammar", text)
        if key not in self._cache:
            try:
                problem = await self.worker.grammar(text)
            except TooComplex:
                problem = "timeout"
            if problem:
                raise InvalidRequest(
                    "The tools and schemas of this request are too complex together.", code="invalid_json_schema"
                )
            self._remember(key, CompiledSchema(text, True, partial(self.worker.mismatch, text)))
        return text

    async def close(self) -> None:
        """Let go of the processes; they come back when they are needed."""
        await self.worker.close()

    def _known(self, key: tuple[str, ...]) -> CompiledSchema | None:
        if key in self._cache:
            self._cache.move_to_end(key)
        return self._cache.get(key)

    def _remember(self, key: tuple[str, ...], compiled: CompiledSchema) -> CompiledSchema:
        self._cache[key] = compiled
        if len(self._cache) > _CACHE_ENTRIES:
            self._cache.popitem(last=False)
        return compiled
