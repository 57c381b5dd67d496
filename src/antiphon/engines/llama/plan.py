"""What one generation asks of the child: worked out before it gets a slot, so that a refusal costs no slot."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec

from antiphon.domain.errors import ContextLengthExceeded, InvalidRequest
from antiphon.engines.llama import grammar, resume
from antiphon.engines.llama.answer import AnswerRules
from antiphon.engines.llama.child_connection import ChildConnection
from antiphon.engines.llama.config import LlamaConfig
from antiphon.engines.llama.prompt import call_arguments
from antiphon.engines.llama.resume import Piece
from antiphon.engines.llama.sampling import completion_body
from antiphon.engines.llama.schemas import CompiledSchema, SchemaCompiler
from antiphon.engines.llama.thinking import Thinking
from antiphon.protocol.generation import Generation, Message, Tool, ToolCall, ToolChoice, ToolResult

#: A call told apart from others: its name and its arguments in canonical JSON.
CallKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Plan:
    """`body` is the request to the child, without a seed; `rules` what the answer must be.

    `hold`: what is shown only once it is known to be right: "all" where a schema cannot be enforced, "calls" after a
    tool's result, where small models repeat their call; `made` are the calls that would be repetitions. `resumed`: the
    pieces of the answer that were made before it was cut off.
    """

    generation: Generation
    input_tokens: int
    body: Mapping[str, Any]
    rules: AnswerRules
    hold: Literal["nothing", "calls", "all"]
    made: frozenset[CallKey]
    resumed: tuple[Piece, ...] = ()

    @property
    def drawn(self) -> int:
        """Tokens that were drawn before the answer was cut off."""
        return self.resumed[-1].drawn if self.resumed else 0


class Planner:
    """Makes plans for one engine."""

    def __init__(self, config: LlamaConfig, compiler: SchemaCompiler) -> None:
        self._config = config
        self._compiler = compiler

    async def words(self, plan: Plan, connection: ChildConnection) -> Plan:
        """The same generation without its tools: for when the model only repeats a call that has been answered."""
        choice = ToolChoice(mode="none")
        generation = msgspec.structs.replace(plan.generation, tool_choice=choice)
        again = await self.plan(generation, connection)
        if generation.output.kind == "text":
            # Without this the call's JSON often comes as text.
            words = grammar.only_words()
            if again.rules.thinking != "none":
                words = grammar.after_thoughts(words, again.rules.thinking)
            return replace(again, body={**again.body, "grammar": words})
        return again

    async def plan(self, generation: Generation, connection: ChildConnection) -> Plan:
        """Work out a generation. Raises `InvalidRequest` or `ContextLengthExceeded`."""
        tools = generation.callable_tools()
        if generation.tool_choice.mode == "required" and not tools:
            raise InvalidRequest("A tool must be called, but there is none to call.", code="no_callable_tool")
        places = {tool.name: index for index, tool in enumerate(generation.tools)}
        arguments = {tool.name: await self._arguments(tool, places[tool.name]) for tool in tools}
        output = await self._output(generation)
        tokens, thinking = await self._tokens(generation, connection)
        text = self._grammar(generation, output, arguments)
        if text and thinking != "none":
            text = grammar.after_thoughts(text, thinking)
        body = completion_body(
            generation.sampling,
            self._config.chat,
            context=self._config.context,
            vocabulary_size=connection.vocabulary_size,
        )
        if text:
            body["grammar"] = await self._compiler.grammar(text)
        rules = _rules(generation, arguments, output, thinking)
        if generation.sampling.stop and not rules.stops:
            body["stop"] = generation.sampling.stop
        room = self._config.context - len(tokens)
        body |= {"prompt": tokens, "stream": True, "n_predict": min(generation.sampling.max_tokens or room, room)}
        schemas = [*arguments.values(), *([output] if output else [])]
        made = _calls_made(generation) if tools and generation.tool_choice.mode == "auto" else frozenset()
        plan = Plan(
            generation=generation,
            input_tokens=len(tokens),
            body=body,
            rules=rules,
            hold="nothing" if all(s.enforced for s in schemas) and not made else "calls" if made else "all",
            made=made,
        )
        return await _going_on(plan, connection) if generation.progress else plan

    async def count(self, generation: Generation, connection: ChildConnection) -> int:
        """Input tokens, however many."""
        return len(await connection.reader.tokens(generation))

    async def _tokens(self, generation: Generation, connection: ChildConnection) -> tuple[list[int], Thinking]:
        context = self._config.context
        size = sum(len(turn.text) for turn in generation.turns if isinstance(turn, Message))
        if size > context * _LONGEST_TOKEN:
            raise _too_long(self._config, f"are {size} characters long. Please reduce the length of the messages")
        tokens, thinking = await connection.reader.prompt(generation)
        if len(tokens) >= context:
            functions = len(tokens) - await self._without_tools(generation, connection)
            raise _too_long(self._config, _told(len(tokens), functions))
        return tokens, thinking

    @staticmethod
    async def _without_tools(generation: Generation, connection: ChildConnection) -> int:
        """Tokens of the messages alone."""
        bare = msgspec.structs.replace(generation, tools=(), tool_choice=ToolChoice(mode="none"))
        return len(await connection.reader.tokens(bare))

    async def _arguments(self, tool: Tool, index: int) -> CompiledSchema:
        if tool.grammar is not None:
            return await self._compiler.text(
                tool.grammar, what=f"custom tool '{tool.name}'", param=f"tools[{index}].grammar"
            )
        return await self._compiler.schema(
            grammar.arguments_schema(tool),
            strict=tool.strict,
            what=f"function '{tool.name}'",
            code="invalid_function_parameters",
            param=f"tools[{index}].parameters",
        )

    async def _output(self, generation: Generation) -> CompiledSchema | None:
        output = generation.output
        if output.kind == "text":
            return None
        schema = grammar.ANY_OBJECT if output.kind == "json_object" else output.schema or {}
        return await self._compiler.schema(
            schema,
            strict=output.strict,
            what=f"response_format '{output.name}'",
            code="invalid_json_schema",
            param="output.schema",
        )

    @staticmethod
    def _grammar(generation: Generation, output: CompiledSchema | None, arguments: Mapping[str, CompiledSchema]) -> str:
        """The grammar, or "" where the answer may be anything."""
        parallel = generation.tool_choice.parallel
        rules = {name: schema.rule for name, schema in arguments.items()}
        raw = [name for name, schema in arguments.items() if schema.raw]
        if not rules:
            return grammar.only_json(output.rule) if output else ""
        if generation.tool_choice.mode == "required":
            return grammar.only_calls(rules, parallel=parallel, raw=raw)
        if output:
            return grammar.json_or_calls(output.rule, rules, parallel=parallel, raw=raw)
        return grammar.text_or_calls(rules, parallel=parallel, raw=raw)


async def _going_on(plan: Plan, connection: ChildConnection) -> Plan:
    """The plan for the rest of an answer that was cut off.

    A grammar cannot begin in the middle. Where there is one, the rest is made without, held back until it is whole, and
    shown only if the whole answer is what it must be.
    """
    resumed = resume.pieces(plan.generation.progress)
    tokens = await resume.tokens(connection.client, resumed)
    body = dict(plan.body)
    body |= {"prompt": [*body["prompt"], *tokens], "n_predict": body["n_predict"] - len(tokens)}
    constrained = body.pop("grammar", None) is not None
    return replace(plan, body=body, resumed=tuple(resumed), hold="all" if constrained else plan.hold)


#: No vocabulary has tokens of more characters than this; a text longer than the context times this need not be counted.
_LONGEST_TOKEN = 512


def _told(tokens: int, functions: int) -> str:
    """OpenAI's words for what a prompt of so many tokens consists of."""
    if functions <= 0:
        return f"resulted in {tokens} tokens. Please reduce the length of the messages"
    return (
        f"resulted in {tokens} tokens ({tokens - functions} in the messages, {functions} in the functions). "
        "Please reduce the length of the messages or functions"
    )


def _too_long(config: LlamaConfig, what: str) -> ContextLengthExceeded:
    """The refusal; it names the setting where a longer context is possible."""
    longer = ""
    if config.trained_context is not None and config.trained_context > config.context:
        longer = f" The server's setting --context can make it longer, up to {config.trained_context} tokens."
    return ContextLengthExceeded(
        f"This model's maximum context length is {config.context} tokens. However, your messages {what}.{longer}"
    )


def _rules(
    generation: Generation,
    arguments: Mapping[str, CompiledSchema],
    output: CompiledSchema | None,
    thinking: Thinking,
) -> AnswerRules:
    tools = generation.callable_tools()
    required = generation.tool_choice.mode == "required"
    return AnswerRules(
        tools={tool.name: tool.kind for tool in tools},
        wrapped=bool(tools) and output is not None and not required,
        text_allowed=not required,
        parallel=generation.tool_choice.parallel,
        raw=frozenset(name for name, schema in arguments.items() if schema.raw),
        stops=generation.sampling.stop if tools or thinking != "none" else (),
        text_misfit=output.misfit if output else None,
        argument_misfits={name: schema.misfit for name, schema in arguments.items()},
        strict={name for name, schema in [*arguments.items(), ("", output)] if schema is not None and schema.strict},
        top_logprobs=generation.sampling.top_logprobs,
        thinking=thinking,
    )


def call_key(name: str, arguments: Any) -> CallKey:
    """What makes two calls the same. `arguments` is a JSON value."""
    return name, json.dumps(arguments, sort_keys=True)


def _calls_made(generation: Generation) -> frozenset[CallKey]:
    """If a tool has just answered: the calls since the last user message."""
    if not generation.turns or not isinstance(generation.turns[-1], ToolResult):
        return frozenset()
    made: set[CallKey] = set()
    for turn in reversed(generation.turns):
        if isinstance(turn, Message) and turn.role == "user":
            break
        if isinstance(turn, ToolCall):
            made.add(call_key(turn.name, call_arguments(turn)))
    return frozenset(made)
