"""Grammars that let the model say only what the request allows, in llguidance's Lark dialect.

What was found by trial with the built-in llama.cpp, and must stay so:
- A grammar that does not compile is logged and then **ignored**: `schemas.py` compiles each one beforehand.
- The lexer is greedy and does not back up. Where text may turn into a call, the turn must be made by *lazy* lexemes
  (`name[lazy]`: the shortest match wins over the text around it). Complements such as "text without a call in it"
  work for a handful of tools and then exceed the lexer's budget in the middle of an answer.

A custom tool whose text is bound to a Lark grammar is called with that text in the place of its arguments, raw: only so
can the model write what the grammar wants without JSON's escapes. Nothing can tell where such text ends (its own
grammar may allow whatever would end it), so it ends with the answer: a raw call is always the last one.

What counts as a call in text stands twice: here as a grammar, and in `calls.py` as a scanner. They must agree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping

from antiphon.engines.llama.thinking import CLOSE, OPEN, Thinking
from antiphon.protocol.generation import Grammar, JsonSchema, Tool

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

#: Arguments of a tool that takes none.
NO_ARGUMENTS: JsonSchema = {"type": "object", "properties": {}, "additionalProperties": False}
#: A custom tool takes free text: to the model it is a function with one string.
FREE_TEXT: JsonSchema = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}
#: Between a call's name and its arguments, where nothing is left to the model.
RAW_ARGUMENTS = ', "arguments": '
ANY_OBJECT: JsonSchema = {"type": "object"}


def arguments_schema(tool: Tool) -> JsonSchema:
    """The schema of the tool's arguments; they are always a JSON object."""
    if tool.kind == "custom":
        return FREE_TEXT
    if tool.parameters is None:
        return NO_ARGUMENTS
    kind = tool.parameters.get("type")
    if kind is None or (isinstance(kind, list) and "object" in kind):
        return {**tool.parameters, "type": "object"}
    return tool.parameters


def text_rule(grammar: Grammar) -> tuple[str, str]:
    """A grammar of free text as a whole grammar, and as a rule for the inside of another one."""
    regex = grammar.syntax == "regex"
    lark = f"start: TEXT\nTEXT: /{_slashed(grammar.definition)}/" if regex else grammar.definition
    return f"{_PREFIX}{lark}\n", f"%lark {{\n{lark}\n}}"


def _slashed(pattern: str) -> str:
    """A pattern as it stands between slashes: whole texts are matched anyway, so anchors at its ends go."""
    pattern = pattern.removeprefix("^")
    if pattern.endswith("$") and not pattern.endswith("\\$"):
        pattern = pattern[:-1]
    return re.sub(r"(\\.)|/", lambda found: found[1] or r"\/", pattern.replace("\n", r"\n"))


def only_json(rule: str) -> str:
    """The answer is JSON."""
    return f"{_PREFIX}start: {rule}\n"


def only_words() -> str:
    """The answer is prose: it does not begin like JSON, code or a tag."""
    return _PREFIX + "start: /[^\\s{\\[<`](?s:.*)/\n"


def only_calls(rules: Mapping[str, str], *, parallel: bool, raw: Collection[str] = ()) -> str:
    """The answer is a call, or several; `rules` holds each tool's name and rule, `raw` the names of raw ones."""
    return f"{_PREFIX}start: {_calls(rules, raw, chr(10), '', parallel=parallel)}\n{_literal_calls(rules, raw)}"


def json_or_calls(rule: str, rules: Mapping[str, str], *, parallel: bool, raw: Collection[str] = ()) -> str:
    """The answer is JSON, or calls; these then stand in `<tool_call>`, so that the first character decides."""
    calls = _calls(rules, raw, "\n</tool_call>\n<tool_call>\n", "\n</tool_call>", parallel=parallel)
    return (
        f"{_PREFIX}start: answer | wrapped\nanswer: {rule}\n"
        f'wrapped: "<tool_call>\\n" ({calls})\n{_literal_calls(rules, raw)}'
    )


def text_or_calls(rules: Mapping[str, str], *, parallel: bool, raw: Collection[str] = ()) -> str:
    """The answer is text; a call's head at the beginning of a line makes the rest of it calls.

    The head is `{"name": "NAME"` with a known name, bare, after a line "```json", or after `<tool_call>`.
    """
    numbered = list(enumerate(rules))
    json_calls = " | ".join(f"name{i} rest{i}" for i, name in numbered if name not in raw)
    raw_calls = " | ".join(f"name{i} rest{i}" for i, name in numbered if name in raw)
    more = MAX_CALLS - 1 if parallel else 0
    chains = []
    if json_calls:
        chains.append(f"call (MORE call){{0,{more}}}" if more else "call")
    if raw_calls:
        chains.append(f"(call MORE){{0,{more}}} rawcall" if json_calls and more else "rawcall")
    lines = [
        "start: TEXT | open after",
        f"after: {' | '.join(chains)} | TEXT | reopen after",
        *([f"call: {json_calls}"] if json_calls else []),
        *([f"rawcall: {raw_calls}"] if raw_calls else []),
        "TEXT: /(?s:.*)/",
        f"open[lazy]: /(?s:(.*\\n)?){_OPEN}/",
        f"reopen[lazy]: /(?s:.*\\n){_OPEN}/",
    ]
    if json_calls:
        lines += [
            f'ARGUMENTS: /{_WS},{_WS}"arguments"{_WS}:{_WS}/',
            # It takes the white space before the next call with it: a lexer that does not back up could not leave it.
            rf"TAIL: /{_WS}\}}\s{{0,4}}((```|<\/tool_call>)\s{{0,4}})?/",
        ]
    if json_calls and more:
        lines.append(rf'MORE: /(```(json)?\n|<tool_call>\n?)?{_INDENT}\{{{_WS}"name"{_WS}:{_WS}"/')
    for i, (name, rule) in enumerate(rules.items()):
        lines.append(f"name{i}[lazy]: /{_regex(quoted_name(name)[1:])}/")
        lines.append(
            f"rest{i}: {json.dumps(RAW_ARGUMENTS)} {rule}" if name in raw else f"rest{i}: ARGUMENTS {rule} TAIL"
        )
    return _PREFIX + "\n".join(lines) + "\n"


def after_thoughts(grammar: str, thinking: Thinking) -> str:
    """The same, after the thoughts of a model that thinks."""
    begin = "(thinkopen thinkclose SPACE?)?" if thinking == "may" else "thinkclose SPACE?"
    body = grammar.removeprefix(_PREFIX).replace("start: ", "answered: ", 1)
    lines = [
        f"start: {begin} answered",
        # Two lexemes: after the first only the second is allowed, so that nothing in a thought counts as a call.
        *([rf"thinkopen[lazy]: /\s{{0,4}}{_regex(OPEN)}/"] if thinking == "may" else []),
        f"thinkclose[lazy]: /(?s:.*){_regex(CLOSE)}/",
        r"SPACE: /\s{1,8}/",
    ]
    return _PREFIX + "\n".join(lines) + "\n" + body


def quoted_name(name: str) -> str:
    """A tool's name as it stands in a call's JSON."""
    return json.dumps(name)


def _calls(rules: Mapping[str, str], raw: Collection[str], separator: str, end: str, *, parallel: bool) -> str:
    """Calls with `separator` between them and `end` after them; a raw one is the last, and has nothing after it."""
    between, after = json.dumps(separator), json.dumps(end) if end else ""
    more = MAX_CALLS - 1 if parallel else 0
    json_only = any(name not in raw for name in rules)
    chains = []
    if json_only:
        chains.append(f"call ({between} call){{0,{more}}} {after}" if more else f"call {after}")
    if any(name in raw for name in rules):
        chains.append(f"(call {between}){{0,{more}}} rawcall" if json_only and more else "rawcall")
    return " | ".join(chains)


def _literal_calls(rules: Mapping[str, str], raw: Collection[str]) -> str:
    """The rules `call` and `rawcall` with nothing left to the model but the tool and its arguments."""
    heads = {name: f'{{"name": {quoted_name(name)}{RAW_ARGUMENTS}' for name in rules}
    numbered = list(enumerate(rules))
    json_calls = " | ".join(f'{json.dumps(heads[name])} args{i} "}}"' for i, name in numbered if name not in raw)
    raw_calls = " | ".join(f"{json.dumps(heads[name])} args{i}" for i, name in numbered if name in raw)
    lines = [f"call: {json_calls}" if json_calls else "", f"rawcall: {raw_calls}" if raw_calls else ""]
    lines += [f"args{i}: {rules[name]}" for i, name in numbered]
    return "\n".join(filter(None, lines)) + "\n"


def _regex(text: str) -> str:
    """A pattern of llguidance that matches exactly `text`."""
    # An escaped angle bracket is the edge of a word.
    return re.sub(r"[^A-Za-z0-9_ <>]", lambda found: f"\\{found[0]}" if found[0].isascii() else found[0], text)
