"""Structured output and tool choice on an engine that cannot constrain what it says: checked, repaired, asked again.

What the engine says is held back until it is known to be right. What is not is repaired, if it only breaks JSON's form;
then the model is asked once more, with a minimal prompt. What is strict fails then (`OutputInvalid`); what is not is
handed out as it is, and marked so (`Finish.unmet`): clients would only send a refused request again.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import msgspec

from antiphon.domain.errors import OutputInvalid, note_used
from antiphon.domain.ids import new_id
from antiphon.engines.constrained.held import HeldAnswer
from antiphon.engines.constrained.rules import AnswerRules, rules_for
from antiphon.engines.schemas.worker import SchemaWorker
from antiphon.ports import Capabilities, Engine
from antiphon.protocol.generation import (
    CallArguments,
    CallStart,
    Delta,
    Finish,
    Generation,
    JsonSchema,
    Message,
    OutputFormat,
    Progress,
    ReasoningDelta,
    TextDelta,
    TextPart,
    ToolChoice,
)
from antiphon.protocol.streams import OwnedStream

_FIX = (
    "Fix this JSON. Answer with the corrected JSON only.\n"
    "It must fit this JSON Schema: {schema}\nWhat is wrong: {problem}"
)
_CALL = (
    "Call one of these tools. Answer with one JSON object only: "
    '{{"name": <name of the tool>, "arguments": <arguments as a JSON object>}}\nTools: {tools}'
)


class ConstrainedEngine:
    """Makes an engine whose capabilities say `constrains=False` keep to what it is asked."""

    def __init__(self, inner: Engine, worker: SchemaWorker | None = None) -> None:
        self._inner = inner
        self._worker = worker or SchemaWorker()

    @property
    def name(self) -> str:
        """The model's name as answers show it."""
        return self._inner.name

    @property
    def capabilities(self) -> Capabilities:
        """The engine's own. It constrains now; what was held back when it was cut off cannot be gone on with."""
        return replace(self._inner.capabilities, constrains=True, continues=False)

    async def start(self) -> None:
        """Start the engine."""
        await self._inner.start()

    async def stop(self) -> None:
        """Stop the engine, and the process that checks."""
        await self._inner.stop()
        await self._worker.close()

    async def ready(self) -> bool:
        """Whether the engine is."""
        return await self._inner.ready()

    async def check(self, generation: Generation) -> None:
        """Refuse what cannot be checked, and what the engine refuses."""
        await rules_for(generation, self._worker, self.name)
        await self._inner.check(generation)

    async def count_tokens(self, generation: Generation) -> int:
        """As the engine counts them."""
        return await self._inner.count_tokens(generation)

    async def generate(self, generation: Generation) -> AsyncGenerator[Delta, None]:
        """Admit a generation, then stream what of it is right: see the port."""
        rules = await rules_for(generation, self._worker, self.name)
        if not generation.callable_tools() and generation.tools:
            generation = msgspec.structs.replace(generation, tools=(), tool_choice=ToolChoice("none"))
        if rules is None:
            return await self._inner.generate(generation)
        generation = generation.neutral()
        stream = await self._inner.generate(generation)
        return OwnedStream(self._hold_back(generation, rules, stream), stream)

    async def _hold_back(
        self, generation: Generation, rules: AnswerRules, stream: AsyncGenerator[Delta, None]
    ) -> AsyncGenerator[Delta, None]:
        held = HeldAnswer()
        async with aclosing(stream):
            async for delta in stream:
                # Free text need not be held back: nothing that comes after it can make it wrong.
                if isinstance(delta, ReasoningDelta) or (rules.text_is_free and isinstance(delta, TextDelta)):
                    yield delta
                elif not isinstance(delta, Progress):
                    held.take(delta)
        try:
            checked = await self._checked(generation, rules, held)
        except BaseException as error:
            note_used(error, held.finish.usage)
            raise
        for delta in checked:
            yield delta

    async def _checked(self, generation: Generation, rules: AnswerRules, held: HeldAnswer) -> list[Delta]:
        """What was held back, once it is what it must be. Raises `OutputInvalid` if it cannot be made so."""
        if held.finish.reason in {"length", "content_filter"} or held.refused:
            return held.deltas  # cut off, or refused: given as it is
        if held.calls:
            return await self._checked_calls(generation, rules, held)
        if rules.required:
            return await self._forced_call(generation, rules, held)
        if rules.output is None:
            return held.deltas
        fixed = await self._json(generation, rules.output, held.text, "The answer", held, strict=rules.strict)
        kept = [delta for delta in held.deltas if not isinstance(delta, TextDelta | Finish)]
        texts = held.texts if fixed == held.text else [TextDelta(fixed)]
        return [*kept, *texts, held.finish]

    async def _checked_calls(self, generation: Generation, rules: AnswerRules, held: HeldAnswer) -> list[Delta]:
        calls = held.calls if rules.parallel else held.calls[:1]
        deltas: list[Delta] = list(held.texts) if rules.text_is_free else []
        for start, pieces in calls:
            if start.name not in rules.tools:
                raise OutputInvalid(f"The model called '{start.name}', which is not among the tools it may call.")
            text = "".join(pieces)
            if start.kind == "function":
                what, strict = f"The arguments for '{start.name}'", rules.tools[start.name].strict
                text = await self._json(
                    generation, rules.arguments[start.name], text or "{}", what, held, strict=strict
                )
            deltas += [start, *([CallArguments(text)] if text else [])]
        return [*deltas, msgspec.structs.replace(held.finish, reason="tool_calls")]

    async def _forced_call(self, generation: Generation, rules: AnswerRules, held: HeldAnswer) -> list[Delta]:
        """The call that must be there, found in the text; or asked for."""
        call = await self._call_in(rules, held.text)
        if call is None:
            shown = [{"name": tool.name, "parameters": tool.parameters or {}} for tool in rules.tools.values()]
            order = _CALL.format(tools=json.dumps(shown, ensure_ascii=False))
            turns = (*generation.turns, Message("system", (TextPart(order),)))
            answer = await self._ask_again(generation, turns, OutputFormat("json_object"), held)
            call = await self._call_in(rules, answer) or await self._call_in(rules, answer, unmet=held)
        if call is None:
            raise OutputInvalid("The model did not call a tool, also after it was asked again.")
        start = CallStart(call[0], new_id("call_"), rules.tools[call[0]].kind)
        return [
            start,
            *([CallArguments(call[1])] if call[1] else []),
            msgspec.structs.replace(held.finish, reason="tool_calls"),
        ]

    async def _call_in(
        self, rules: AnswerRules, text: str, *, unmet: HeldAnswer | None = None
    ) -> tuple[str, str] | None:
        """The name and arguments of the call that `text` is, if it is one that may be made.

        `unmet`: arguments that do not fit will do if they need not, and this answer is marked so.
        """
        one = {"type": "object", "properties": {"name": {"enum": list(rules.tools)}}, "required": ["name"]}
        value = _parsed(await self._worker.find(json.dumps(one), text) or await self._worker.repair(text))
        if not isinstance(value, dict) or value.get("name") not in rules.tools:
            return None
        tool = rules.tools[value["name"]]
        arguments = value.get("arguments", {})
        if tool.kind == "custom":
            return tool.name, _free_text(arguments)
        written = json.dumps(arguments, ensure_ascii=False)
        if await self._worker.misfit(rules.arguments[tool.name], written) is None:
            return tool.name, written
        if unmet is None or tool.strict:
            return None
        unmet.is_unmet()
        return tool.name, written

    async def _json(
        self, generation: Generation, schema: str, text: str, what: str, held: HeldAnswer, *, strict: bool
    ) -> str:
        """`text` as JSON that fits `schema`: as it is, repaired, or fixed by the model; as it is if it need not fit."""
        problem = await self._worker.misfit(schema, text)
        if problem is None:
            return text
        repaired = await self._fitting(schema, text)
        if repaired is None:
            order = _FIX.format(schema=schema, problem=problem)
            turns = (Message("system", (TextPart(order),)), Message("user", (TextPart(text or "(nothing)"),)))
            wanted: JsonSchema = json.loads(schema)
            answer = await self._ask_again(generation, turns, OutputFormat("json_schema", "fixed", wanted), held)
            repaired = answer if await self._worker.misfit(schema, answer) is None else None
            repaired = repaired or await self._fitting(schema, answer)
        if repaired is not None:
            return repaired
        if strict:
            raise OutputInvalid(f"{what} does not fit its schema, also after asking again: {problem}")
        held.is_unmet()
        return text

    async def _fitting(self, schema: str, text: str) -> str | None:
        """The JSON within `text` that fits: the first that does as it is; else what `text` is when it is repaired."""
        found = await self._worker.find(schema, text)
        if found:
            return found
        repaired = await self._worker.repair(text)
        return repaired if repaired and await self._worker.misfit(schema, repaired) is None else None

    async def _ask_again(
        self, generation: Generation, turns: Sequence[Any], output: OutputFormat, held: HeldAnswer
    ) -> str:
        """The text of one more generation, whose tokens are added to what was used."""
        again = Generation(
            model=generation.model,
            turns=tuple(turns),
            output=output,
            sampling=msgspec.structs.replace(
                generation.sampling, temperature=0.0, stop=(), top_logprobs=None, max_tokens=_left(generation, held)
            ),
            extra=generation.extra,
            headers=generation.headers,
        )
        answer = HeldAnswer()
        async with aclosing(await self._inner.generate(again)) as stream:
            async for delta in stream:
                if not isinstance(delta, Progress):
                    answer.take(delta)
        usage = held.finish.usage.plus(answer.finish.usage)
        held.finish = msgspec.structs.replace(held.finish, usage=usage, tier=answer.finish.tier)
        return answer.text


def _left(generation: Generation, held: HeldAnswer) -> int | None:
    """Output tokens that one more answer may have: all answers together keep to the limit of one."""
    most = generation.sampling.max_tokens
    return None if most is None else max(1, most - held.finish.usage.output_tokens)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _free_text(arguments: Any) -> str:
    """A custom tool's text, which models often write as the one member of an object."""
    if isinstance(arguments, dict) and len(arguments) == 1:
        arguments = next(iter(arguments.values()))
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
