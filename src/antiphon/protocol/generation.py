"""The neutral exchange between surfaces and engines.

A surface translates its request to a `Generation`; an engine turns that into a stream of `Delta`s; the surface's
machine turns those into its own events. So N surfaces and M engines need N + M translators, never N x M.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from antiphon.domain import amounts, limits

JsonSchema = Mapping[str, Any]
Role = Literal["system", "developer", "user", "assistant"]


class _Value(msgspec.Struct, frozen=True, gc=False):
    """An immutable value that holds no reference cycles (so the collector need not look at it)."""


# --- what a generation is asked ---------------------------------------------------------------------------------------
class TextPart(_Value, frozen=True, tag="text"):
    """A piece of text. `extra`: members that only a server behind this one may know."""

    text: str
    extra: Mapping[str, Any] = {}


class RefusalPart(_Value, frozen=True, tag="refusal"):
    """An earlier refusal of the assistant."""

    text: str


class ImagePart(_Value, frozen=True, tag="image"):
    """An image, as a `data:` URL or a remote one. `path` says where in the request it stood, for error messages.

    `extra`: see `TextPart`."""

    url: str
    detail: str = "auto"
    path: str = ""
    extra: Mapping[str, Any] = {}


class FilePart(_Value, frozen=True, tag="file"):
    """A file given inline (base64) or by id. `path` says where in the request it stood."""

    data: str | None = None
    file_id: str | None = None
    filename: str | None = None
    path: str = ""


class AudioPart(_Value, frozen=True, tag="audio"):
    """Recorded speech (base64). `path` says where in the request it stood."""

    data: str
    format: str
    path: str = ""


Part = TextPart | RefusalPart | ImagePart | FilePart | AudioPart


class Message(msgspec.Struct, frozen=True, tag="message"):
    """One message. `parts` keep their order; `name` tells participants of one role apart. `extra`: see `TextPart`."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None
    extra: Mapping[str, Any] = {}

    @property
    def text(self) -> str:
        """All text of the message, joined (refusals included: they are what the assistant said)."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart | RefusalPart))


class ToolCall(_Value, frozen=True, tag="tool_call"):
    """An earlier call of a tool by the model. `arguments` is JSON text for a function, free text for a custom tool.

    `extra`: see `TextPart`.
    """

    call_id: str
    name: str
    arguments: str
    kind: Literal["function", "custom"] = "function"
    extra: Mapping[str, Any] = {}


class ToolResult(_Value, frozen=True, tag="tool_result"):
    """What a called tool answered. `extra`: see `TextPart`."""

    call_id: str
    output: str
    extra: Mapping[str, Any] = {}


class ReasoningTurn(_Value, frozen=True, tag="reasoning"):
    """Earlier reasoning of the model, where its text is known."""

    text: str


Turn = Message | ToolCall | ToolResult | ReasoningTurn


class Grammar(_Value, frozen=True):
    """What the free text of a custom tool must be."""

    syntax: Literal["lark", "regex"]
    definition: str


class Tool(msgspec.Struct, frozen=True):
    """A tool the model may call. `parameters` is a JSON Schema (None: no arguments); `grammar` binds a custom tool's
    free text. `extra`: see `TextPart`."""

    name: str
    description: str = ""
    parameters: JsonSchema | None = None
    strict: bool = False
    kind: Literal["function", "custom"] = "function"
    grammar: Grammar | None = None
    extra: Mapping[str, Any] = {}


class ToolChoice(msgspec.Struct, frozen=True):
    """Which tools may be called. Every engine adapter enforces it; it is never only a wish.

    `mode`: "none" no call; "auto" text or calls; "required" at least one call and no text.
    `names`: only these tools may be called (a named tool is "required" with one name); None means all.
    `parallel`: whether one answer may hold more than one call.
    """

    mode: Literal["none", "auto", "required"] = "auto"
    names: frozenset[str] | None = None
    parallel: bool = True


class OutputFormat(msgspec.Struct, frozen=True):
    """What the text of the answer must be. `schema` is set for "json_schema" only."""

    kind: Literal["text", "json_object", "json_schema"] = "text"
    name: str = ""
    schema: JsonSchema | None = None
    strict: bool = False


class Sampling(msgspec.Struct, frozen=True):
    """How tokens are drawn. None leaves a value to the engine's own default.

    `max_tokens`: output tokens at the most. `top_logprobs`: None for no log probabilities, else how many alternatives
    (0 to 20) each token shows. `logit_bias`: token id to bias (-100 to 100).

    The rest is not OpenAI's, and only the local engine reads it (upstreams get such fields as they were sent). `top_k`:
    only so many of the likeliest tokens (0: all). `min_p`: only tokens at least so likely as this share of the
    likeliest one (0 to 1). `typical_p`: only tokens about as surprising as expected, up to this probability (1: all).
    `repetition_penalty`: tokens that are there already become so many times less likely (1: no penalty).
    """

    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logit_bias: Mapping[int, float] = {}
    max_tokens: int | None = None
    top_logprobs: int | None = None
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repetition_penalty: float | None = None


class Passthrough(msgspec.Struct, frozen=True):
    """A request as its surface took it, for an engine that speaks the very same protocol.

    `surface`: whose body it is. `body`: the whole request, as it may be sent on: references to what only we have (a
    previous response, a conversation, a prompt) are put in, and nothing in it is to be kept by whoever gets it.
    `only`: what it asks for cannot all be said in a `Generation`, so only an engine that takes such requests as they
    are can serve it (`Capabilities.passthrough`).
    """

    surface: Literal["chat", "responses"]
    body: Mapping[str, Any]
    only: bool = False


_VERBOSITY = {"low": "Answer as briefly as you can.", "high": "Answer thoroughly and in detail."}


class Generation(msgspec.Struct, frozen=True):
    """One call of one model: everything an engine needs, and nothing about who asked or over which surface.

    `model` is the engine's own name of the model. `effort`: how much a model that thinks should ("none" to "max", None:
    as it likes). `extra` holds fields that the published API does not have, as they were sent, for servers behind this
    one. `foreign`: some of those, or fields somewhere deeper, mean something that only such a server may know; only an
    engine whose capabilities say `passes_extra` may be asked then. `track` asks an engine that can continue an answer
    for `Progress`; `progress` is what it told before the answer was cut off, and asks it to go on from there.

    `streamed`: whether somebody watches; if not, an engine may ask for the whole answer at once. `affinity`: equal for
    generations that had better go to the same target, whose cache knows their beginning. `passthrough`: the same
    request as its surface got it: an engine may answer it with `PassthroughDelta`s, or ignore it. `batches`: the
    caller can take a `Batch`. `tier`: the service tier that is asked for, for servers that have several. `template`:
    what the client says to the model's chat template (`chat_template_kwargs`); the local engine hands it on where it is
    not set by what else is asked. `verbosity`: how long answers should be ("low", "medium", "high"). `user`,
    `safety_identifier`: who asks, as the client names them, for servers that want to know. `headers`: sent with the
    request to a server behind this one (`domain.trace_context`); the answer does not depend on them.
    """

    model: str
    turns: tuple[Turn, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    output: OutputFormat = OutputFormat()
    sampling: Sampling = Sampling()
    effort: str | None = None
    extra: Mapping[str, Any] = {}
    track: bool = False
    progress: tuple[bytes, ...] = ()
    streamed: bool = True
    affinity: str | None = None
    passthrough: Passthrough | None = None
    batches: bool = False
    tier: str | None = None
    template: Mapping[str, Any] = {}
    foreign: bool = False
    verbosity: str | None = None
    user: str | None = None
    safety_identifier: str | None = None
    headers: Mapping[str, str] = {}

    def spoken(self) -> tuple[Turn, ...]:
        """The turns for a model that has no switch for `verbosity`: it is told in words."""
        hint = self.hint
        return (Message("system", (TextPart(hint),)), *self.turns) if hint else self.turns

    @property
    def hint(self) -> str:
        """What `verbosity` asks, in words; nothing for "medium"."""
        return _VERBOSITY.get(self.verbosity or "", "")

    def callable_tools(self) -> tuple[Tool, ...]:
        """The tools that may really be called under `tool_choice`."""
        if self.tool_choice.mode == "none":
            return ()
        names = self.tool_choice.names
        return self.tools if names is None else tuple(tool for tool in self.tools if tool.name in names)


# --- what comes back --------------------------------------------------------------------------------------------------
class TopLogprob(_Value, frozen=True):
    """An alternative token. `logprob` is the natural logarithm of its probability."""

    token: str
    logprob: float
    bytes: tuple[int, ...]


class TokenLogprob(_Value, frozen=True):
    """A generated token and its alternatives, best first."""

    token: str
    logprob: float
    bytes: tuple[int, ...]
    top_logprobs: tuple[TopLogprob, ...] = ()


class Usage(_Value, frozen=True):
    """Tokens of one generation.

    `cached_tokens`, `cache_write_tokens` and `input_audio_tokens` are part of `input_tokens`; `reasoning_tokens` and
    `output_audio_tokens` of `output_tokens`. `estimated`: the engine has not told, and these are our own count.
    """

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    estimated: bool = False

    def bounded(self) -> Usage:
        """The same, with no count beyond what can be (`limits.MAX_TOKENS`), and no part greater than its whole."""
        given, made = self.input_tokens, self.output_tokens
        if (
            0 <= self.cached_tokens <= given <= limits.MAX_TOKENS
            and 0 <= self.reasoning_tokens <= made <= limits.MAX_TOKENS
            and 0 <= self.cache_write_tokens <= given
            and 0 <= self.input_audio_tokens <= given
            and 0 <= self.output_audio_tokens <= made
        ):
            return self
        given, made = amounts.count(given), amounts.count(made)
        return Usage(
            given,
            max(0, min(self.cached_tokens, given)),
            made,
            max(0, min(self.reasoning_tokens, made)),
            max(0, min(self.cache_write_tokens, given)),
            max(0, min(self.input_audio_tokens, given)),
            max(0, min(self.output_audio_tokens, made)),
            self.estimated,
        )

    def plus(self, other: Usage) -> Usage:
        """Both together."""
        return Usage(
            self.input_tokens + other.input_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.input_audio_tokens + other.input_audio_tokens,
            self.output_audio_tokens + other.output_audio_tokens,
            self.estimated or other.estimated,
        )


class TextDelta(_Value, frozen=True, tag="text"):
    """More text of the answer, with the tokens it came from where they were asked for."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


class RefusalDelta(_Value, frozen=True, tag="refusal"):
    """More text of a refusal."""

    text: str


class ReasoningDelta(_Value, frozen=True, tag="reasoning"):
    """More of the model's reasoning."""

    text: str


class CallStart(_Value, frozen=True, tag="call_start"):
    """The model begins to call a tool. All `CallArguments` until the next start belong to it."""

    name: str
    call_id: str
    kind: Literal["function", "custom"] = "function"


class CallArguments(_Value, frozen=True, tag="call_arguments"):
    """More of the running call's arguments."""

    text: str


class Progress(_Value, frozen=True, tag="progress"):
    """How far the engine has come with the deltas that follow, in its own words, for going on after a crash.

    Not part of the answer: the driver keeps it and shows it to no machine.
    """

    state: bytes


class Finish(_Value, frozen=True, tag="finish"):
    """The end of the generation, always the last delta. "length": out of tokens or of context.

    `tier`: the service tier that it was made in, if the engine tells. `unmet`: the answer does not fit a schema that it
    should fit, but need not (it is not strict).
    """

    reason: Literal["stop", "length", "tool_calls", "content_filter"]
    usage: Usage = Usage()
    tier: str | None = None
    unmet: bool = False


class PassthroughDelta(_Value, frozen=True, tag="native"):
    """Part of the answer in the words of the surface that `Generation.passthrough` names: one chunk or event, as JSON.

    If the whole was asked for (`streamed` false), it is the whole object. `text` is what it says, of any kind, for
    counting tokens if the stream breaks off. An answer is passthrough as a whole, but for its `Finish`.
    """

    data: bytes
    text: str = ""


#: What an answer is made of.
AnswerDelta = TextDelta | RefusalDelta | ReasoningDelta | CallStart | CallArguments | Finish


class Batch(_Value, frozen=True, tag="batch"):
    """Deltas that came at once, so that they can be sent at once. Never holds a `Finish`, which always stands alone."""

    deltas: tuple[AnswerDelta | PassthroughDelta, ...]


Delta = AnswerDelta | Progress | PassthroughDelta | Batch
