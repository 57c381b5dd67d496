"""Has the built-in model answer to schemas over both APIs, as text and as arguments of a tool, and judges it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import openai

from antiphon.engines.schemas.enforce import normalised
from antiphon.engines.schemas.enforce.values import checker
from schemas.variety import Schema, strict

#: How a schema is asked for.
MODES = ("text", "strict text", "tool", "strict tool")
#: Enough for most answers; what is cut off says nothing.
_TOKENS = 120
_ASK = "Give an example."


@dataclass
class Tally:
    """What came of all questions. `wrong`: names of those that broke a promise, and how."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def line(self) -> str:
        """The figures, on one line."""
        return (
            ", ".join(f"{count} {what}" for what, count in sorted(self.counts.items())) + f", {len(self.wrong)} wrong"
        )


class Asker:
    """Asks one server; its answers are counted in `tally`."""

    def __init__(self, client: openai.OpenAI, tally: Tally) -> None:
        self._client = client
        self._tally = tally

    def ask(self, name: str, schema: Schema, mode: str, api: str) -> None:
        """One question, judged."""
        is_strict, is_tool = mode.startswith("strict"), mode.endswith("tool")
        wanted = strict(schema) if is_strict or is_tool else schema
        place = f"{name}, {mode}, {api}"
        try:
            answer = (self._responses if api == "responses" else self._chat)(wanted, is_strict, is_tool)
        except openai.BadRequestError as error:
            # Not strict, every schema of the collection is taken.
            self._note("refused", None if is_strict else f"{place}: {error.message}")
            return
        except openai.APIStatusError as error:
            self._note("failed", f"{place}: {error.status_code} {error.message}")
            return
        self._judge(place, wanted, answer)

    def _judge(self, place: str, schema: Schema, answer: _Answer) -> None:
        if answer.cut:
            self._note("cut off")
        elif answer.text is None:
            self._note("without the call", f"{place}: no call")
        elif answer.unmet:
            self._note("unmet")
        else:
            try:
                checker(normalised(schema)).validate(json.loads(answer.text))
            except ValueError as error:
                self._note("misfit", f"{place}: {str(error).splitlines()[0]} in {answer.text[:200]}")
            else:
                self._note("fit")

    def _note(self, what: str, wrong: str | None = None) -> None:
        self._tally.counts[what] += 1
        if wrong:
            self._tally.wrong.append(wrong)

    def _responses(self, schema: Schema, is_strict: bool, is_tool: bool) -> _Answer:
        form: dict[str, Any] = {"name": "it", "strict": is_strict}
        more: dict[str, Any] = (
            {"tools": [{"type": "function", **form, "parameters": schema}], "tool_choice": "required"}
            if is_tool
            else {"text": {"format": {"type": "json_schema", **form, "schema": schema}}}
        )
        raw = self._client.responses.with_raw_response.create(
            model="gpt-5-mini", input=_ASK, max_output_tokens=_TOKENS, temperature=1, store=False, **more
        )
        made = raw.parse()
        unmet = raw.headers.get("x-antiphon-schema") == "unmet"
        calls = [item.arguments for item in made.output if item.type == "function_call"]
        text = (calls[0] if calls else None) if is_tool else made.output_text
        return _Answer(text, cut=made.status == "incomplete", unmet=unmet)

    def _chat(self, schema: Schema, is_strict: bool, is_tool: bool) -> _Answer:
        form: dict[str, Any] = {"name": "it", "strict": is_strict}
        more: dict[str, Any] = (
            {"tools": [{"type": "function", "function": {**form, "parameters": schema}}], "tool_choice": "required"}
            if is_tool
            else {"response_format": {"type": "json_schema", "json_schema": {**form, "schema": schema}}}
        )
        raw = self._client.chat.completions.with_raw_response.create(
            model="gpt-5-mini",
            messages=[{"role": "user", "content": _ASK}],
            max_completion_tokens=_TOKENS,
            temperature=1,
            **more,
        )
        choice = raw.parse().choices[0]
        unmet = raw.headers.get("x-antiphon-schema") == "unmet"
        calls = [call.function.arguments for call in choice.message.tool_calls or () if call.type == "function"]
        text = (calls[0] if calls else None) if is_tool else choice.message.content
        return _Answer(text, cut=choice.finish_reason == "length", unmet=unmet)


@dataclass(frozen=True)
class _Answer:
    """`text`: JSON, or None where a call is missing."""

    text: str | None
    cut: bool
    unmet: bool


def ask_all(base_url: str, key: str, questions: Iterable[tuple[str, Schema, str, str]]) -> Tally:
    """Ask all of `questions`: a name, a schema, a mode and an API each."""
    tally = Tally()
    with openai.OpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=100) as client:
        asker = Asker(client, tally)
        for question in questions:
            asker.ask(*question)
    return tally
