"""What an engine is asked: a `Generation`, and what it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from antiphon.protocol.generation.turns import Message, TextPart, Turn
from antiphon.protocol.generation.value import Value

JsonSchema = Mapping[str, Any]


class Grammar(Value, frozen=True):
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
    previous response, a conversation, a prompt) are put in, and an upstream is not to store anything of it.
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

    def plain(self) -> Generation:
        """Without the request in its surface's own words, so that the answer comes in neutral deltas."""
        return self if self.passthrough is None else msgspec.structs.replace(self, passthrough=None)

    def neutral(self) -> Generation:
        """As whoever reads or rewrites the answer needs it: in neutral deltas, one by one, without notes of progress.

        An engine's notes say how far it has come, which is not how far an answer has come of which something is held
        back.
        """
        return msgspec.structs.replace(self, passthrough=None, batches=False, track=False)

    def callable_tools(self) -> tuple[Tool, ...]:
        """The tools that may really be called under `tool_choice`."""
        if self.tool_choice.mode == "none":
            return ()
        names = self.tool_choice.names
        return self.tools if names is None else tuple(tool for tool in self.tools if tool.name in names)
