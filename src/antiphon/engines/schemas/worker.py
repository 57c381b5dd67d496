"""What is asked of the processes that compile and check schemas and grammars of clients.

There are two. What has been found to be quick before is asked of one, and everything else of the other. So a client
that sends schemas made to be slow delays other clients' new ones by one question at the most, since projects take
turns, and what is in use not at all.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest
from antiphon.engines.schemas.checker import COMMAND, CheckerProcess, TooComplex
from antiphon.protocol.generation import JsonSchema

Json = dict[str, Any]
Code = Literal["invalid_json_schema", "invalid_function_parameters"]

_TOO_COMPLEX = "it is too complex to compile."


@dataclass(frozen=True, slots=True)
class Admitted:
    """A schema that answers can be checked against, as JSON `text`; `rule`: of a grammar for it; `unenforced`: why the
    rule lets through what does not fit, or "" if it does not."""

    text: str
    rule: str
    unenforced: str


class SchemaWorker:
    """Compiles and checks. Used from one event loop."""

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        self._known = CheckerProcess(command)
        self._new = CheckerProcess(command)
        #: Questions by their digests: whether they were quick to answer.
        self._quick: OrderedDict[bytes, bool] = OrderedDict()

    @property
    def pids(self) -> list[int]:
        """The processes' numbers, while there are any."""
        return [lane.pid for lane in (self._known, self._new) if lane.pid is not None]

    async def admit(self, schema: JsonSchema, *, strict: bool, what: str, code: Code, param: str | None) -> Admitted:
        """Compile a client's schema.

        Raises `InvalidRequest` with `code` and `param`, and a message that names `what`, if it is not valid, too large
        or too complex, or if nothing can fit it; strict: also if it names formats that JSON Schema does not know.
        """
        text = schema_text(schema, what=what, code=code, param=param)
        arguments = code == "invalid_function_parameters"
        if arguments and not _of_objects(schema):
            kind = json.dumps(schema["type"]).replace('"', "")
            why = f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'."
            raise refused(why, what=what, code=code, param=param)
        fields = {"schema": text, "strict": strict, "arguments": arguments}
        try:
            answer = await self._ask("schema", limits.GRAMMAR_TIMEOUT, f"{strict}{arguments}{text}", **fields)
        except TooComplex:
            answer = {"error": _TOO_COMPLEX}
        if "error" in answer:
            raise refused(answer["error"], what=what, code=code, param=param)
        return Admitted(answer["schema"], answer["rule"], answer["unenforced"])

    async def repair(self, text: str) -> str:
        """`text` with the mistakes put right that models make in JSON; empty if there is nothing to put right."""
        try:
            answer = await self._new.ask("repair", limits.SCHEMA_CHECK_TIMEOUT, text=text)
        except TooComplex:
            return ""
        return str(answer["text"])

    async def find(self, schema: str, text: str) -> str:
        """The first complete object or list within `text` that fits `schema`; empty if there is none."""
        try:
            answer = await self._new.ask("find", limits.SCHEMA_CHECK_TIMEOUT, schema=schema, text=text)
        except TooComplex:
            return ""
        return str(answer["text"])

    async def grammar(self, grammar: str) -> str:
        """Why `grammar` does not compile; empty if it does. Raises `TooComplex`."""
        answer = await self._ask("grammar", limits.GRAMMAR_TIMEOUT, grammar, grammar=grammar)
        return str(answer["error"])

    async def misfit(self, schema: str, text: str) -> str | None:
        """Why the JSON `text` does not fit `schema`, or None if it does."""
        return await self._check("json", schema, schema=schema, text=text)

    async def mismatch(self, grammar: str, text: str) -> str | None:
        """Why `grammar` does not allow `text`, or None if it does."""
        return await self._check("text", grammar, grammar=grammar, text=text)

    async def watch(self, name: str, at: int, text: str, *, end: bool, grammar: str | None) -> Json:
        """See `child.watch_text`. Of grammars that compile. Raises `TooComplex`."""
        return await self._known.ask(
            "watch", limits.SCHEMA_CHECK_TIMEOUT, name=name, at=at, text=text, end=end, grammar=grammar
        )

    async def close(self) -> None:
        """End the processes; they come back when they are needed."""
        await self._known.close()
        await self._new.close()

    async def _check(self, question: str, about: str, **fields: Any) -> str | None:
        try:
            answer = await self._ask(question, limits.SCHEMA_CHECK_TIMEOUT, about, **fields)
        except TooComplex:
            return "it takes too long to check"
        return answer["error"] or None

    async def _ask(self, question: str, seconds: float, about: str, **fields: Any) -> Json:
        """Ask the process for quick questions, or the other. What was too complex to compile is not asked again."""
        digest = blake2b(f"{question}\0{about}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
        quick = self._quick.get(digest)
        if quick is False and question in {"schema", "grammar"}:
            raise TooComplex
        try:
            answer = await (self._known if quick else self._new).ask(question, seconds, **fields)
        except TooComplex:
            self._note(digest, quick=False)
            raise
        self._note(digest, quick=True)
        return answer

    def _note(self, digest: bytes, *, quick: bool) -> None:
        self._quick[digest] = quick
        self._quick.move_to_end(digest)
        if len(self._quick) > limits.SCHEMAS_KNOWN:
            self._quick.popitem(last=False)


def _of_objects(schema: JsonSchema) -> bool:
    """Whether the root of a schema allows objects, as far as its type says."""
    kind = schema.get("type", "object")
    return kind == "object" or (isinstance(kind, list) and "object" in kind)


def schema_text(schema: JsonSchema, *, what: str, code: Code, param: str | None) -> str:
    """A client's schema as JSON text. Raises `InvalidRequest` if it is no JSON, or too large."""
    try:
        text = json.dumps(schema)
    except (TypeError, ValueError, RecursionError):
        raise refused("it is not JSON.", what=what, code=code, param=param) from None
    if len(text) > limits.MAX_SCHEMA_CHARS:
        why = f"it has {len(text)} characters, the limit is {limits.MAX_SCHEMA_CHARS}."
        raise refused(why, what=what, code=code, param=param)
    return text


def refused(why: str, *, what: str, code: Code, param: str | None) -> InvalidRequest:
    """The refusal of a schema."""
    return InvalidRequest(f"Invalid schema for {what}: {why}", code=code, param=param)
