"""What an answer must be, as its request says, with schemas that answers can be checked against."""

from __future__ import annotations

from dataclasses import dataclass, field

from antiphon.domain.errors import InvalidRequest
from antiphon.engines.schemas.worker import SchemaWorker
from antiphon.protocol.generation import Generation, OutputFormat, Tool

_OBJECT = '{"type": "object"}'


@dataclass(slots=True)
class AnswerRules:
    """What one answer must be.

    `required`: it must call a tool. `parallel`: it may call several. `tools`: those it may call, by name; `arguments`:
    the schema of each one's arguments as JSON text. `output`: the schema of its text as JSON text, None if that is
    free; `strict`: the text must fit it, or the answer fails.
    """

    required: bool
    parallel: bool
    tools: dict[str, Tool] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    output: str | None = None
    strict: bool = False

    @property
    def text_is_free(self) -> bool:
        """Whether its text may be anything."""
        return self.output is None and not self.required


async def rules_for(generation: Generation, worker: SchemaWorker, model: str) -> AnswerRules | None:
    """What the answer must be; None if anything will do. `model`: its name, for refusals.

    Raises `InvalidRequest` for what cannot be checked.
    """
    tools = generation.callable_tools()
    choice = generation.tool_choice
    if choice.mode == "required" and not tools:
        raise InvalidRequest("A tool must be called, but there is none to call.", code="no_callable_tool")
    if not tools and generation.output.kind == "text":
        return None
    rules = AnswerRules(required=choice.mode == "required", parallel=choice.parallel)
    for index, tool in enumerate(generation.tools):
        if tool not in tools:
            continue
        if tool.grammar is not None:
            raise InvalidRequest(
                f"The model '{model}' cannot be held to the grammar of the custom tool '{tool.name}'.",
                code="unsupported_value",
                param=f"tools[{index}].grammar",
            )
        rules.tools[tool.name] = tool
        schema = await worker.admit(
            tool.parameters or {"type": "object"},
            strict=tool.strict,
            what=f"function '{tool.name}'",
            code="invalid_function_parameters",
            param=f"tools[{index}].parameters",
        )
        rules.arguments[tool.name] = schema.text
    # That an answer is JSON at all is promised without a schema too.
    rules.strict = generation.output.strict or generation.output.kind == "json_object"
    rules.output = await _output(generation.output, worker)
    return rules


async def _output(output: OutputFormat, worker: SchemaWorker) -> str | None:
    if output.kind == "text":
        return None
    if output.kind == "json_object" or output.schema is None:
        return _OBJECT
    schema = await worker.admit(
        output.schema,
        strict=output.strict,
        what=f"response_format '{output.name}'",
        code="invalid_json_schema",
        param="output.schema",
    )
    return schema.text
