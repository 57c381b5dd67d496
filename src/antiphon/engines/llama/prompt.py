"""From turns to the messages that a model's chat template takes, and from those to token ids."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest
from antiphon.engines.llama.client import LlamaClient, TemplateRefused
from antiphon.engines.llama.grammar import arguments_schema
from antiphon.engines.llama.thinking import Thinking, thinking_after
from antiphon.protocol.generation import (
    AudioPart,
    FilePart,
    Generation,
    ImagePart,
    Message,
    ReasoningTurn,
    RefusalPart,
    TextPart,
    Tool,
    ToolCall,
    ToolResult,
    Turn,
)

ChatMessage = dict[str, Any]
#: What a template is given by us, and what its language gives it: not a client's to set.
_TEMPLATES_OWN = frozenset(
    {
        *("messages", "tools", "tool_choice", "parallel_tool_calls", "json_schema", "add_generation_prompt"),
        *("bos_token", "eos_token", "raise_exception", "strftime_now", "namespace", "range", "tojson", "joiner"),
    }
)

_TOOLS_INTRO = """# Tools

You may call one or more functions to help the user. Their signatures:
{signatures}

To call a function, answer with a JSON object and nothing else:
{{"name": <function-name>, "arguments": <arguments-as-json-object>}}"""


# --- turns to messages ------------------------------------------------------------------------------------------------
def chat_messages(
    turns: Iterable[Turn], tools: Sequence[Tool], *, template_tools: bool, thinks: bool = False
) -> list[ChatMessage]:
    """The conversation in OpenAI's chat shape, as templates expect it.

    An assistant's text and the calls after it become one message; reasoning goes with the message after it, where the
    template of a model that `thinks` decides what of it is shown; leading instructions become one system
    message. `template_tools`: the template renders tools, calls and results; if not, they become plain text.

    Raises `InvalidRequest` for parts that a text model cannot read.
    """
    messages: list[ChatMessage] = []
    thought, at = "", 0
    for turn in turns:
        if thought and len(messages) > at:
            _thought_before(messages[at], thought)
            thought = ""
        match turn:
            case Message():
                messages.append(_message(turn))
            case ToolCall() if template_tools:
                _assistant_before(messages).setdefault("tool_calls", []).append(_tool_call(turn))
            case ToolCall():
                _append_text(_assistant_before(messages), _call_text(turn))
            case ToolResult() if template_tools:
                messages.append({"role": "tool", "tool_call_id": turn.call_id, "content": turn.output})
            case ToolResult():
                text = f"<tool_response>\n{turn.output}\n</tool_response>"
                messages.append({"role": "user", "content": text})
            case ReasoningTurn():
                thought, at = (turn.text if thinks else ""), len(messages)
    if thought and len(messages) > at:
        _thought_before(messages[at], thought)
    if tools and not template_tools:
        signatures = "\n".join(json.dumps(signature(tool), ensure_ascii=False) for tool in tools)
        messages.insert(_leading(messages), _system(_TOOLS_INTRO.format(signatures=signatures)))
    return _merge_leading(messages)


def simplest(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """The same conversation for templates that take little: instructions only at the front of the first user message,
    and user and assistant in turn."""
    instructions = [message["content"] for message in messages if message["role"] == "system"]
    plain: list[ChatMessage] = [{"role": "user", "content": "\n\n".join(instructions)}] if instructions else []
    for message in messages:
        if message["role"] == "system":
            continue
        if plain and plain[-1]["role"] == message["role"] and message["role"] in {"user", "assistant"}:
            calls = plain[-1].get("tool_calls", []) + message.get("tool_calls", [])
            content = "\n\n".join(text for text in (plain[-1]["content"], message["content"]) if text)
            plain[-1] = {**message, "content": content, **({"tool_calls": calls} if calls else {})}
        else:
            plain.append(message)
    return plain


def signature(tool: Tool) -> dict[str, Any]:
    """A tool as OpenAI's chat API describes it to a model."""
    description = tool.description
    if tool.grammar is not None:
        description = (
            f"{description}\nIts input obeys this {tool.grammar.syntax} grammar:\n{tool.grammar.definition}".strip()
        )
    function = {"name": tool.name, "description": description, "parameters": arguments_schema(tool)}
    return {"type": "function", "function": function}


def call_arguments(call: ToolCall) -> Any:
    """A call's arguments as a JSON value; what is not a JSON object becomes the member `input` of one."""
    if call.kind == "function":
        try:
            value = json.loads(call.arguments or "{}")
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            return value
    return {"input": call.arguments}


def _message(turn: Message) -> ChatMessage:
    for part in turn.parts:
        if not isinstance(part, TextPart | RefusalPart):
            raise _unsupported(part)
    role = "system" if turn.role == "developer" else turn.role
    name = f"{turn.name}: " if turn.name and role == "user" else ""
    return {"role": role, "content": name + turn.text}


def _unsupported(part: ImagePart | FilePart | AudioPart) -> InvalidRequest:
    what = {ImagePart: "images", FilePart: "files", AudioPart: "audio"}[type(part)]
    return InvalidRequest(
        f"This model does not support {what} in its input.",
        code="unsupported_content",
        param=part.path or None,
    )


def _tool_call(call: ToolCall) -> dict[str, Any]:
    arguments = json.dumps(call_arguments(call), ensure_ascii=False)
    return {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _call_text(call: ToolCall) -> str:
    return json.dumps({"name": call.name, "arguments": call_arguments(call)}, ensure_ascii=False)


def _thought_before(message: ChatMessage, thought: str) -> None:
    if message["role"] == "assistant":
        message["reasoning_content"] = thought


def _assistant_before(messages: list[ChatMessage]) -> ChatMessage:
    """The assistant's message that a call belongs to: the one just before, or a new one."""
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": ""})
    return messages[-1]


def _append_text(message: ChatMessage, text: str) -> None:
    message["content"] = f"{message['content']}\n{text}" if message["content"] else text


def _system(text: str) -> ChatMessage:
    return {"role": "system", "content": text}


def _leading(messages: Sequence[ChatMessage]) -> int:
    """How many system messages the conversation begins with."""
    return next((i for i, message in enumerate(messages) if message["role"] != "system"), len(messages))


def _merge_leading(messages: list[ChatMessage]) -> list[ChatMessage]:
    """Make one of the system messages at the front: templates know only one there."""
    count = _leading(messages)
    if count < 2:
        return messages
    return [_system("\n\n".join(message["content"] for message in messages[:count])), *messages[count:]]


def _template_arguments(generation: Generation, *, thinks: bool) -> dict[str, Any]:
    """What is said to the template beside messages and tools. Raises `InvalidRequest` if the client says too much."""
    arguments = {name: value for name, value in generation.template.items() if name not in _TEMPLATES_OWN}
    if len(msgspec.json.encode(arguments)) > limits.MAX_TEMPLATE_ARGUMENTS:
        raise InvalidRequest(
            f"'chat_template_kwargs' has more than {limits.MAX_TEMPLATE_ARGUMENTS} bytes.",
            code="invalid_value",
            param="chat_template_kwargs",
        )
    if thinks and generation.effort is not None:
        # What the templates of such models have agreed on; others pass over names that they do not know.
        arguments |= {"enable_thinking": generation.effort != "none", "reasoning_effort": generation.effort}
    return arguments


# --- messages to tokens -----------------------------------------------------------------------------------------------
class PromptReader:
    """Renders and counts prompts for one running child.

    Text of a request that spells a control token (say `<|im_end|>`) must stay text: it is rendered as a placeholder,
    and its own tokens are put in the placeholder's place.
    """

    def __init__(
        self, client: LlamaClient, control_tokens: Sequence[str], *, template_tools: bool, thinks: bool = False
    ) -> None:
        self._client = client
        self._thinks = thinks
        self._template_tools = template_tools
        longest_first = sorted(filter(None, control_tokens), key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    async def tokens(self, generation: Generation) -> list[int]:
        """The prompt's token ids; see `prompt`."""
        return (await self.prompt(generation))[0]

    async def prompt(self, generation: Generation) -> tuple[list[int], Thinking]:
        """The prompt's token ids, and how the answer to it begins.

        Raises `InvalidRequest` if the conversation cannot be put to this model.
        """
        tools = generation.callable_tools()
        messages = chat_messages(generation.spoken(), tools, template_tools=self._template_tools, thinks=self._thinks)
        if not messages:
            raise InvalidRequest("There is no input for the model to answer.", code="empty_input")
        body: dict[str, Any] = {"messages": messages}
        if tools and self._template_tools:
            body["tools"] = [signature(tool) for tool in tools]
        if arguments := _template_arguments(generation, thinks=self._thinks):
            body["chat_template_kwargs"] = arguments
        try:
            return await self._read(body)
        except TemplateRefused:
            pass
        try:
            return await self._read({**body, "messages": simplest(messages)})
        except TemplateRefused:
            raise InvalidRequest(
                "The model's chat template does not take this sequence of messages.", code="unsupported_conversation"
            ) from None

    async def tokenize(self, text: str) -> list[int]:
        """Token ids of plain text."""
        return await self._client.tokenize(text, begin=False, special=False)

    async def _read(self, body: dict[str, Any]) -> tuple[list[int], Thinking]:
        encoded = msgspec.json.encode(body)
        if self._control is None or not self._control.search(text := encoded.decode()):
            prompt = await self._client.render(encoded)
            tokens = await self._client.tokenize(prompt, begin=True, special=True)
            return tokens, thinking_after(prompt, thinks=self._thinks)
        spelled: list[str] = []
        nonce = secrets.token_hex(8)

        def placeholder(found: re.Match[str]) -> str:
            spelled.append(found[0])
            return f"{nonce}x{len(spelled) - 1}x"

        prompt = await self._client.render(self._control.sub(placeholder, text).encode())
        tokens = []
        for i, piece in enumerate(re.split(f"{nonce}x([0-9]+)x", prompt)):
            if i % 2:
                tokens += await self._client.tokenize(spelled[int(piece)], begin=False, special=False)
            elif piece:
                tokens += await self._client.tokenize(piece, begin=not tokens, special=True)
        return tokens, thinking_after(prompt, thinks=self._thinks)
