"""Which parameter of a client's request a refusal is about.

Engines know nothing of surfaces. They name what they refuse by its place in the neutral `Generation`: "output.schema",
"tools[2].parameters", "tools[2].grammar"; or by nothing but an error code. Each surface has a table from these names to
its own, and `with_client_param` applies it. Names that no table has are the same on every surface, or were said by an
upstream of the very same API: they stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from antiphon.domain.errors import AntiphonError

E = TypeVar("E", bound=AntiphonError)

_TOOL = re.compile(r"tools\[(\d{1,9})\]")


@dataclass(frozen=True, slots=True)
class ParamTable:
    """The parameters of one surface.

    `by_code`: for refusals that name none. `by_name`: neutral name to the surface's. `tool`: where the tool of an index
    stands; `of_tool`: members of a tool, neutral to the surface's. `places`: where the tools stand in this request,
    where the surface does not keep them in one list.
    """

    by_code: Mapping[str, str] = field(default_factory=dict)
    by_name: Mapping[str, str] = field(default_factory=dict)
    tool: str = "tools[{index}]"
    of_tool: Mapping[str, str] = field(default_factory=dict)
    places: Sequence[str] = ()

    def at(self, places: Sequence[str]) -> ParamTable:
        """The same table for a request whose tools stand at these places."""
        return replace(self, places=places)

    def client_param(self, param: str | None, code: str | None) -> str | None:
        """The surface's name for what an engine calls `param`."""
        if param is None:
            return self.by_code.get(code or "")
        tool = _TOOL.match(param)
        if tool is None:
            return self.by_name.get(param, param)
        index, member = int(tool[1]), param[tool.end() :]
        place = self.places[index] if index < len(self.places) else self.tool.format(index=index)
        return place + self.of_tool.get(member, member)


#: Chat Completions.
CHAT = ParamTable(
    by_code={"context_length_exceeded": "messages", "no_callable_tool": "tool_choice"},
    by_name={"output.schema": "response_format"},
    of_tool={".parameters": ".function.parameters", ".grammar": ".custom.format.grammar.definition"},
)
#: Chat Completions with the deprecated `functions`.
CHAT_FUNCTIONS = replace(CHAT, tool="functions[{index}]", of_tool={".grammar": ".parameters"})
#: Responses. A conversation is another endpoint's `conversation_id`.
RESPONSES = ParamTable(
    by_code={"context_length_exceeded": "input"},
    by_name={"output.schema": "text.format.schema", "conversation_id": "conversation"},
    of_tool={".grammar": ".format.definition"},
)


def with_client_param(error: E, table: ParamTable) -> E:
    """The same refusal with the parameter that the client of a surface knows."""
    param = table.client_param(error.param, error.code)
    return error if param == error.param else error.restated(param=param)
