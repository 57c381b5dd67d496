"""Items that change how the conversation goes on: tools that are added, and settings that are changed on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from antiphon.protocol.responses import item_types, tools
from antiphon.protocol.responses import request as requests
from antiphon.protocol.responses.request import ResponseRequest

Json = dict[str, Any]


def applied(request: ResponseRequest, items: Sequence[Json]) -> ResponseRequest:
    """The request with what the items of its conversation change.

    `additional_tools` and the results of a tool search make tools callable; a tool of the request itself has precedence
    over one of the same name. Of `configuration_update`s the last one counts, and only where the
    request itself says nothing.
    """
    request = _with_tools(request, items)
    update: Json = next((item for item in reversed(items) if item["type"] == "configuration_update"), {})
    effort = (update.get("reasoning") or {}).get("effort")
    if effort is not None and request.effort is None:
        request = msgspec.structs.replace(request, effort=effort)
    text_format = (update.get("text") or {}).get("format")
    if text_format is not None and (request.body.get("text") or {}).get("format") is None:
        request = msgspec.structs.replace(request, output=requests.output_format(text_format))
    return request


def _with_tools(request: ResponseRequest, items: Sequence[Json]) -> ResponseRequest:
    offered = tools.offer_more(request.offered, item_types.added_tools(items))
    if len(offered.tools) == len(request.offered.tools):
        return request
    if offered.unserved is not None:
        return msgspec.structs.replace(request, offered=offered)
    choice = tools.choose(request.body.get("tool_choice"), offered, parallel=request.tool_choice.parallel)
    return msgspec.structs.replace(request, offered=offered, tool_choice=choice)
