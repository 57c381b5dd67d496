"""The tools of a request for a response: which of them a model of ours can be offered, and how they are chosen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from antiphon.domain.errors import InvalidRequest
from antiphon.protocol import toolset
from antiphon.protocol.generation import Tool, ToolChoice
from antiphon.protocol.refusals import Unserved, unsupported_parameter, unsupported_value
from antiphon.protocol.responses import client_tools
from antiphon.protocol.responses.client_tools import SINGLE, Form
from antiphon.protocol.responses.objects import Json

#: Types of tools that a server of this API runs by itself, and this one does not yet.
_HOSTED_CHOICES = frozenset(
    {
        *("file_search", "computer", "computer_use", "computer_use_preview", "image_generation", "code_interpreter"),
        *("mcp", "web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11"),
        "programmatic_tool_calling",
    }
)
#: How whoever runs this server has tools left out that it does not run.
SETTING = 'unserved_tools = "ignore" (--unserved-tools ignore)'


class Offered(msgspec.Struct, frozen=True):
    """What a model is offered. `tools` in order; `forms` of those whose calls are shown as other items than functions
    of that name; `places`: where in the request each tool stands.

    `hosted`: the refusal of a tool that the server would have to run; left out, the rest can be served. `unserved`:
    the refusal of what cannot be left out.
    """

    tools: tuple[Tool, ...] = ()
    forms: Mapping[str, Form] = {}
    places: tuple[str, ...] = ()
    hosted: Unserved | None = None
    unserved: Unserved | None = None

    def refusal(self, *, ignoring: bool = False) -> Unserved | None:
        """Why no model of ours can be asked this. `ignoring`: what can be left out is."""
        return self.unserved if ignoring else self.hosted or self.unserved


#: No tools at all.
NOTHING = Offered()


class _Offer:
    """Collects tools, one after the other."""

    def __init__(self, held: Offered, *, search: bool) -> None:
        self.tools = {tool.name: tool for tool in held.tools}
        self.forms = dict(held.forms)
        self.places = list(held.places)
        self.hosted = held.hosted
        self.unserved = held.unserved
        self._search = search

    def add(self, tool: Json, path: str, *, again: bool) -> None:
        """One tool. `again`: it comes from an item, and what it cannot be offered for is passed over, not refused."""
        kind = tool["type"]
        if kind == "namespace":
            for index, inner in enumerate(tool["tools"]):
                self._within(inner, f"{path}.tools[{index}]", tool["name"], again=again)
        elif kind in {"function", "custom"}:
            self._named(tool, path, None, again=again)
        elif kind in SINGLE and (kind != "shell" or client_tools.runs_here(tool)):
            made = client_tools.single(tool)
            if made is not None and not any(form.kind == kind for form in self.forms.values()):
                self._put(made, path, Form(kind, kind))
        elif kind in {"web_search", "web_search_2025_08_26"} and tool.get("external_web_access") is False:
            # It asks for no access to the web, but for an index that only OpenAI has: without that, nothing is left.
            pass
        elif not again:
            self._not_run(kind, path)

    def _within(self, tool: Json, path: str, namespace: str, *, again: bool) -> None:
        """One tool of a namespace: newer servers may know other types there than functions and custom tools."""
        if tool["type"] in {"function", "custom"}:
            self._named(tool, path, namespace, again=again)
        elif not again:
            self._not_run(tool["type"], path)

    def _not_run(self, kind: str, path: str) -> None:
        self.hosted = self.hosted or unsupported_value(
            f"{path}.type",
            f"This server does not run tools of type '{kind}'. Leave the tool out, or have whoever runs the server "
            f"set {SETTING}.",
        )

    def _named(self, tool: Json, path: str, namespace: str | None, *, again: bool) -> None:
        refusal = _unserved(tool, path)
        if refusal is not None:
            if not again:
                self.unserved = self.unserved or refusal
            return
        if tool.get("defer_loading") and self._search:
            return  # the client looks for it, and says then that it is there
        made = callable_tool(tool, path)
        form = Form("function", tool["name"], namespace)
        if form in self.forms.values() or (namespace is None and self._is_plain(made.name)):
            if not again:
                raise toolset.twice(made.name, f"{path}.name")
            return
        if namespace is not None:
            made = msgspec.structs.replace(made, name=client_tools.function_name(made.name, namespace))
        # The name may be that under which another is offered; then this one gets a name of its own.
        plain = namespace is None and made.name not in self.tools
        self._put(made, path, None if plain else form)

    def _is_plain(self, name: str) -> bool:
        """Whether a tool is offered by that name, and is called by it."""
        return name in self.tools and name not in self.forms

    def _put(self, tool: Tool, path: str, form: Form | None) -> None:
        name = client_tools.unlike(self.tools, tool.name)
        self.tools[name] = tool if name == tool.name else msgspec.structs.replace(tool, name=name)
        self.places.append(path)
        if form is not None:
            self.forms[name] = form

    def offered(self) -> Offered:
        return Offered(tuple(self.tools.values()), self.forms, tuple(self.places), self.hosted, self.unserved)


def offer(tools: Sequence[Json]) -> Offered:
    """The tools of a request. Raises `InvalidRequest` for two of one name, and for what strict mode does not allow."""
    made = _Offer(NOTHING, search=_searched(tools))
    for index, tool in enumerate(tools):
        made.add(tool, f"tools[{index}]", again=False)
    return made.offered()


def offer_more(offered: Offered, tools: Iterable[Json]) -> Offered:
    """The same with tools that items of the conversation add; those that are there have precedence."""
    more = list(tools)
    if not more:
        return offered
    made = _Offer(offered, search=False)
    for tool in more:
        made.add(tool, "input", again=True)
    return made.offered()


def _searched(tools: Iterable[Json]) -> bool:
    """Whether the client itself looks for tools that are to be loaded later."""
    return any(tool["type"] == "tool_search" and tool.get("execution") == "client" for tool in tools)


def _unserved(tool: Json, path: str) -> Unserved | None:
    if tool.get("async"):
        return unsupported_parameter(f"{path}.async", "is not supported with this model")
    if "programmatic" in (tool.get("allowed_callers") or ()):
        return unsupported_value(
            f"{path}.allowed_callers", "Programmatic callers of tools are not supported with this model."
        )
    return None


def callable_tool(tool: Json, path: str) -> Tool:
    """A function or a custom tool that stands at `path` of the request."""
    if tool["type"] == "custom":
        grammar = tool.get("format") or {}
        return toolset.custom_tool(tool, grammar if grammar.get("type") == "grammar" else None)
    return toolset.function_tool(tool, path)


# --- how they are chosen ----------------------------------------------------------------------------------------------
def choose(choice: str | Json | None, offered: Offered, *, parallel: bool) -> ToolChoice:
    """The request's `tool_choice`, checked against the tools that are offered.

    Raises `InvalidRequest`; `Unserved` where it is another server's to serve.
    """
    try:
        return _choose(choice, offered, parallel=parallel)
    except Unserved:
        raise
    except InvalidRequest as error:
        if offered.hosted is None:
            raise
        # What is to be called is not here, and may be elsewhere.
        raise Unserved(error.message, code=error.code, param=error.param) from None


def _choose(choice: str | Json | None, offered: Offered, *, parallel: bool) -> ToolChoice:
    tools = offered.tools
    if choice is None or isinstance(choice, str):
        return toolset.choice_of_mode(choice or "auto", tools, parallel=parallel)
    if choice["type"] == "allowed_tools":
        return _allowed(choice, offered, parallel=parallel)
    names = _names(choice, offered, "tool_choice")
    return toolset.choice_of_names("required", names, tools, parallel=parallel)


def _allowed(choice: Json, offered: Offered, *, parallel: bool) -> ToolChoice:
    names: list[str] = []
    left_out = False
    for index, given in enumerate(choice["tools"]):
        # The published schema leaves these objects open.
        tool = given if isinstance(given.get("type"), str) else {**given, "type": "function"}
        if tool["type"] in _HOSTED_CHOICES:
            left_out = True
            continue
        names += _names(tool, offered, f"tool_choice.tools[{index}]")
    if left_out and not names and choice["mode"] == "auto":
        return ToolChoice("none", None, parallel)
    return toolset.choice_of_names(choice["mode"], names, offered.tools, parallel=parallel)


def _names(choice: Json, offered: Offered, path: str) -> list[str]:
    kind: str = choice["type"]
    if kind not in {"function", "custom", "namespace", *SINGLE}:
        raise unsupported_value(f"{path}.type", f"This server does not run tools of type '{kind}'.")
    wanted: str = kind if kind in SINGLE else toolset.chosen_name(choice.get("name"), f"{path}.name")
    # What is not there is refused by its own name.
    return client_tools.offered_names(choice, offered.tools, offered.forms) or [wanted]
