"""Grammars that let the model say only what the request allows, in llguidance's Lark dialect.

What was found by trial with the built-in llama.cpp, and must stay so:
- A grammar that does not compile is logged and then **ignored**: `schemas.py` compiles each one beforehand.
- The lexer is greedy and does not back up. Where text may turn into a call, the turn must be made by *lazy* lexemes
  (`name[lazy]`: the shortest match wins over the text around it). Complements such as "text without a call in it"
  work for a handful of tools and then exceed the lexer's budget in the middle of an answer.

What counts as a call in text stands twice: here as a grammar, and in `calls.py` as a scanner. They must agree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from antiphon.protocol.generation import JsonSchema, Tool

#: Calls of one answer, at the most.
MAX_CALLS = 8
#: The white space JSON may have between its tokens where the model writes it by itself.
WS_MAX = 12
_WS = rf"[ \n\t]{{0,{WS_MAX}}}"
#: Before the brace of a call at the beginning of a line.
INDENT_MAX = 8
_INDENT = rf"[ \t]{{0,{INDENT_MAX}}}"
_OPEN = rf'{_INDENT}(<tool_call>{_INDENT})?\{{{_WS}"name"{_WS}:{_WS}"'
_PREFIX = "%llguidance {}\n"
_SEPARATORS = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}

#: Arguments of a tool that takes none.
NO_ARGUMENTS: JsonSchema = {"type": "object", "properties": {}, "additionalProperties": False}
#: A custom tool takes free text: to the model it is a function with one string.
FREE_TEXT: JsonSchema = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}
ANY_OBJECT: JsonSchema = {"type": "object"}


def arguments_schema(tool: Tool) -> JsonSchema:
    """The schema of the tool's arguments; they are always a JSON object."""
    if tool.kind == "custom":
        return FREE_TEXT
    if tool.parameters is None:
        return NO_ARGUMENTS
    return tool.parameters if "type" in tool.parameters else {"type": "object", **tool.parameters}


def json_rule(schema: JsonSchema, *, lenient: bool = False) -> str:
    """The grammar's rule for JSON that fits `schema`. Lenient: unknown keywords are passed over."""
    options: dict[str, Any] = {**_SEPARATORS, "lenient": True} if lenient else dict(_SEPARATORS)
    return "%json " + json.dumps({**schema, "x-guidance": options})


def only_json(rule: str) -> str:
    """The answer is JSON."""
    return f"{_PREFIX}start: {rule}\n"


def only_words() -> str:
    """The answer is prose: it does not begin like JSON, code or a tag."""
    return _PREFIX + "start: /[^\\s{\\[<`](?s:.*)/\n"


def only_calls(rules: Mapping[str, str], *, parallel: bool) -> str:
    """The answer is a call, or several; `rules` holds each tool's name and `json_rule`."""
    return f"{_PREFIX}start: {_calls(parallel, chr(10))}\n{_literal_call(rules)}"


def json_or_calls(rule: str, rules: Mapping[str, str], *, parallel: bool) -> str:
    """The answer is JSON, or calls; these then stand in `<tool_call>`, so that the first character decides."""
    calls = _calls(parallel, "\n</tool_call>\n<tool_call>\n")
    return (
        f"{_PREFIX}start: answer | wrapped\nanswer: {rule}\n"
        f'wrapped: "<tool_call>\\n" {calls} "\\n</tool_call>"\n{_literal_call(rules)}'
    )


def text_or_calls(rules: Mapping[str, str], *, parallel: bool) -> str:
    """The answer is text; a call's head at the beginning of a line makes the rest of it calls.

    The head is `{"name": "NAME"` with a known name, bare, after a line "```json", or after `<tool_call>`.
    """
    names = " | ".join(f"name{i} rest{i}" for i in range(len(rules)))
    more = f"(MORE call){{0,{MAX_CALLS - 1}}}" if parallel else ""
    lines = [
        "start: TEXT | open after",
        f"after: call {more} | TEXT | reopen after",
        f"call: {names}",
        "TEXT: /(?s:.*)/",
        f"open[lazy]: /(?s:(.*\\n)?){_OPEN}/",
        f"reopen[lazy]: /(?s:.*\\n){_OPEN}/",
        f'ARGUMENTS: /{_WS},{_WS}"arguments"{_WS}:{_WS}/',
        # It takes the white space before the next call with it: a lexer that does not back up could not leave it.
        rf"TAIL: /{_WS}\}}\s{{0,4}}((```|<\/tool_call>)\s{{0,4}})?/",
    ]
    if parallel:
        lines.append(rf'MORE: /(```(json)?\n|<tool_call>\n?)?{_INDENT}\{{{_WS}"name"{_WS}:{_WS}"/')
    for i, (name, rule) in enumerate(rules.items()):
        lines.append(f"name{i}[lazy]: /{_regex(quoted_name(name)[1:])}/")
        lines.append(f"rest{i}: ARGUMENTS {rule} TAIL")
    return _PREFIX + "\n".join(lines) + "\n"


def quoted_name(name: str) -> str:
    """A tool's name as it stands in a call's JSON."""
    return json.dumps(name)


def _calls(parallel: bool, separator: str) -> str:
    return f"call ({json.dumps(separator)} call){{0,{MAX_CALLS - 1}}}" if parallel else "call"


def _literal_call(rules: Mapping[str, str]) -> str:
    """The rule `call` with nothing left to the model but the tool and its arguments."""
    heads = [json.dumps(f'{{"name": {quoted_name(name)}, "arguments": ') for name in rules]
    calls = " | ".join(f'{head} args{i} "}}"' for i, head in enumerate(heads))
    return f"call: {calls}\n" + "".join(f"args{i}: {rule}\n" for i, rule in enumerate(rules.values()))


def _regex(text: str) -> str:
    """A pattern of llguidance that matches exactly `text`."""
    return re.sub(r"[^A-Za-z0-9_ ]", lambda found: f"\\{found[0]}" if found[0].isascii() else found[0], text)


def tool_names(tools: Sequence[Tool]) -> list[str]:
    """The tools' names, each once, in order."""
    return list(dict.fromkeys(tool.name for tool in tools))
