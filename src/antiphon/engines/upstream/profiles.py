"""What kinds of servers can do, and the quirks they have: one small profile each.

A profile promises little rather than much: what a server is not known to keep to is checked by us, which costs time,
where a promise that is not kept would hand out a wrong answer as a right one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from antiphon.domain.errors import SetupError
from antiphon.protocol.generation import Generation


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of Chat Completions server. What is not said here is sent as the published API has it.

    What a server keeps to by itself (all else is checked, repaired and asked for again here):
    `tool_choice_required`, `tool_choice_named`: a call is made if one must be, and of the tool that was named.
    `parallel_tool_calls`: there is one call at the most if only one is allowed. `sound_calls`: arguments are always
    JSON that fits the tool's parameters. `json_object`, `json_schema`: so is the text, if it must be JSON.
    `json_with_tools`: also where there are tools.

    What it knows: `custom_tools` (else they are sent as functions with one text), `strict_tools`, `images`, `audio`,
    `files`, `logprobs`, `logit_bias`, `names` (of participants), `developer_role` (else "system"), `reasoning_effort`,
    `prompt_cache_key`, `user`, `safety_identifier`, `verbosity` (else it is asked for in words), `tiers`
    (`service_tier`), `stream_usage` (`stream_options.include_usage`), `extra` (fields that are not in the API).

    Its words: `max_tokens_field`, `seed_field`, `required_word` (of `tool_choice`), `reasoning_field` (of assistant
    messages that are sent back; None: their reasoning is left out), `short_call_ids` (nine letters or digits).
    `strict`: it refuses what it does not know, even in messages that it answered with itself, or that others did.
    `unit_defaults`: `temperature` and `top_p` are 1 unless they are sent, and need not be.
    `counting`: how it counts the tokens of a prompt; None if it does not, and we estimate.
    """

    name: str
    tool_choice_required: bool = False
    tool_choice_named: bool = False
    parallel_tool_calls: bool = False
    sound_calls: bool = False
    json_object: bool = False
    json_schema: bool = False
    json_with_tools: bool = False
    custom_tools: bool = False
    strict_tools: bool = False
    images: bool = True
    audio: bool = False
    files: bool = False
    logprobs: bool = True
    logit_bias: bool = True
    names: bool = True
    developer_role: bool = False
    reasoning_effort: bool = True
    prompt_cache_key: bool = False
    user: bool = False
    safety_identifier: bool = False
    verbosity: bool = False
    strict: bool = False
    tiers: bool = False
    stream_usage: bool = True
    extra: bool = True
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    seed_field: Literal["seed", "random_seed"] = "seed"
    required_word: Literal["required", "any"] = "required"
    reasoning_field: Literal["reasoning_content", "reasoning"] | None = None
    short_call_ids: bool = False
    unit_defaults: bool = False
    counting: Literal["llama", "vllm"] | None = None

    def keeps(self, generation: Generation) -> bool:
        """Whether the server keeps to all that this generation asks, so that nothing needs to be checked."""
        return self._keeps_tools(generation) and self._keeps_output(generation)

    def _keeps_tools(self, generation: Generation) -> bool:
        tools = generation.callable_tools()
        choice = generation.tool_choice
        if choice.mode == "required" and not (tools and self._forces(generation)):
            return False
        if not tools:
            return True
        if not self.sound_calls or not (choice.parallel or self.parallel_tool_calls):
            return False
        return all(tool.kind == "function" or self.custom_tools for tool in tools)

    def _forces(self, generation: Generation) -> bool:
        """A named tool is forced by sending no other, where only "required" is understood."""
        named = generation.tool_choice.names is not None and len(generation.tool_choice.names) == 1
        return self.tool_choice_required or (named and self.tool_choice_named)

    def _keeps_output(self, generation: Generation) -> bool:
        if generation.output.kind == "text":
            return True
        return self.asks_for_json(generation) and getattr(self, generation.output.kind) is True

    def asks_for_json(self, generation: Generation) -> bool:
        """Whether `response_format` can be sent: with tools, some servers would force the calls into it, or refuse."""
        return not generation.callable_tools() or self.json_with_tools


#: A server of which nothing else is known.
GENERIC: Final = Profile("generic")

#: https://platform.openai.com/docs/api-reference/chat
_OPENAI = Profile(
    "openai",
    tool_choice_required=True,
    tool_choice_named=True,
    parallel_tool_calls=True,
    sound_calls=True,
    json_object=True,
    json_schema=True,
    json_with_tools=True,
    custom_tools=True,
    strict_tools=True,
    audio=True,
    files=True,
    developer_role=True,
    prompt_cache_key=True,
    user=True,
    safety_identifier=True,
    verbosity=True,
    tiers=True,
    max_tokens_field="max_completion_tokens",
    unit_defaults=True,
)

#: https://docs.vllm.ai/en/latest/features/tool_calling.html: "required" and named calls and schemas are constrained
#: while tokens are drawn; with "auto" the model writes calls as it likes.
_VLLM = Profile(
    "vllm",
    tool_choice_required=True,
    tool_choice_named=True,
    json_object=True,
    json_schema=True,
    audio=True,
    user=True,
    reasoning_field="reasoning_content",
    counting="vllm",
)

#: https://docs.ollama.com/api/openai-compatibility: no `tool_choice`, no `logit_bias`; JSON is made with a grammar.
_OLLAMA = Profile(
    "ollama",
    json_object=True,
    json_schema=True,
    logit_bias=False,
    reasoning_field="reasoning",
)

#: https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md: a named tool is taken for "auto"; schemas
#: become grammars. Prompts are counted with its own template and tokenizer.
_LLAMA = Profile(
    "llama-server",
    json_object=True,
    json_schema=True,
    audio=True,
    reasoning_field="reasoning_content",
    counting="llama",
)

#: https://openrouter.ai/docs/api-reference/parameters: what is kept to depends on the provider behind it.
_OPENROUTER = Profile(
    "openrouter", audio=True, files=True, user=True, verbosity=True, reasoning_field="reasoning", unit_defaults=True
)

#: https://docs.litellm.ai/docs/completion/input: the same, of whatever it stands before.
_LITELLM = Profile(
    "litellm", audio=True, files=True, user=True, reasoning_field="reasoning_content", unit_defaults=True
)

#: https://console.groq.com/docs/openai: no log probabilities, biases or names.
_GROQ = Profile(
    "groq",
    tool_choice_required=True,
    tool_choice_named=True,
    json_object=True,
    logprobs=False,
    logit_bias=False,
    names=False,
    user=True,
    strict=True,
    max_tokens_field="max_completion_tokens",
    unit_defaults=True,
)

#: https://docs.mistral.ai/api/: fields that it does not know are refused; ids of calls have nine letters or digits.
_MISTRAL = Profile(
    "mistral",
    tool_choice_required=True,
    tool_choice_named=True,
    json_object=True,
    json_schema=True,
    logprobs=False,
    logit_bias=False,
    names=False,
    reasoning_effort=False,
    stream_usage=False,
    strict=True,
    seed_field="random_seed",
    required_word="any",
    short_call_ids=True,
)

#: https://api-docs.deepseek.com/: JSON without a schema; models that think want their reasoning back.
_DEEPSEEK = Profile(
    "deepseek",
    json_object=True,
    images=False,
    logit_bias=False,
    reasoning_field="reasoning_content",
    unit_defaults=True,
)

#: Another server of this kind: it has enforced everything already.
_ANTIPHON = replace(_OPENAI, name="antiphon", prompt_cache_key=True, unit_defaults=False)

PROFILES: Final = {
    profile.name: profile
    for profile in (
        *(GENERIC, _OPENAI, _VLLM, _OLLAMA, _LLAMA, _OPENROUTER, _LITELLM, _GROQ, _MISTRAL, _DEEPSEEK, _ANTIPHON),
    )
}


def profile_named(name: str) -> Profile:
    """The profile of that name. Raises `SetupError` with the names there are."""
    try:
        return PROFILES[name]
    except KeyError:
        raise SetupError(f"There is no upstream profile '{name}'. Choose one of: {', '.join(PROFILES)}.") from None
