"""Check what we answer with against both published specifications, and against the official package's own types.

Each check raises AssertionError that names the specification and the failing path. `openai.json` and
`openresponses.json` are made by `scripts/extract_schemas.py`.

Where the specifications disagree, what clients of both accept is right:

- Open Responses knows fewer kinds of items, tools and events. What it does not know is left out before it is asked.
- The `error` event is flat for OpenAI and has a member `error` for Open Responses. It must be flat; the member may be
  there as well, and is then checked.
- OpenAI calls reasoning events `response.reasoning_text.*`, Open Responses `response.reasoning.*`. OpenAI's it is.
- Open Responses lets the `schema` of a JSON schema format be only null, which it cannot mean (the request it is echoed
  from must have one). Any object is right.
- Open Responses wants `usage` in every Response, null until it is known, and `description` in every JSON schema
  format, null if there is none. OpenAI's document has no null there, its package has.
- OpenAI's package knows "steered" as a reason of what is incomplete, its document does not (it has no WebSocket mode).
- With a prompt that has messages, OpenAI's `instructions` are a list of items; Open Responses knows only a string.
- A message of a user fits several branches of OpenAI's `InputItem`, of which only one may fit. Several may.
- OpenAI's lists must have strings as `first_id` and `last_id`. An empty list has no ids; null is right there.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pydantic

HERE = Path(__file__).resolve().parent
Body = dict[str, Any]


# --- the checks -------------------------------------------------------------------------------------------------------
def check_response(body: Any) -> None:
    """A Response object, as POST and GET answer with it and as lifecycle events carry it."""
    from openai.types.responses import Response

    check("openai", "Response", body)
    check("openresponses", "ResponseResource", for_openresponses(body))
    check_type(Response, body)


def check_response_event(event: Any) -> None:
    """One event of a stream of Responses."""
    from openai.types.responses import ResponseStreamEvent

    check("openai", "ResponseStreamEvent", event)
    check_type(ResponseStreamEvent, event)
    if "response" in event:
        check_response(event["response"])
    known = event["type"] in openresponses_events() and (event["type"] != "error" or "error" in event)
    held = event.get("item") or event.get("part") or {}
    if known and held.get("type", "message") in openresponses_kinds():
        if "response" in event:
            event = event | {"response": for_openresponses(event["response"])}
        check("openresponses", "StreamEvent", event)


def check_item(item: Any) -> None:
    """An item as GET input_items lists it (what was sent and what was answered alike)."""
    from openai.types.responses import ResponseItem

    check("openai", "ItemResource", item)
    if item["type"] in openresponses_kinds():
        check("openresponses", "ItemField", item)
    check_type(ResponseItem, item)


def check_token_count(body: Any) -> None:
    """What POST input_tokens answers."""
    from openai.types.responses import InputTokenCountResponse

    check("openai", "TokenCountsResource", body)
    check_type(InputTokenCountResponse, body)


def check_compacted(body: Any) -> None:
    """What POST compact answers: messages of the user only, then one compaction item."""
    check("openai", "CompactResource", body)
    check("openresponses", "CompactResource", body)
    *messages, last = body["output"]
    assert all((message["type"], message["role"]) == ("message", "user") for message in messages), "output: other items"
    assert last["type"] == "compaction", f"output: ends with {last['type']}"


def check_conversation(body: Any) -> None:
    """A conversation."""
    from openai.types.conversations import Conversation

    check("openai", "ConversationResource", body)
    check_type(Conversation, body)


def check_conversation_item(item: Any) -> None:
    """An item of a conversation."""
    from openai.types.conversations import ConversationItem

    check("openai", "ConversationItem", item)
    check_type(ConversationItem, item)


def check_chat_completion(body: Any) -> None:
    """A chat completion."""
    from openai.types.chat import ChatCompletion

    check("openai", "CreateChatCompletionResponse", body)
    check_type(ChatCompletion, body)


def check_chat_chunk(body: Any) -> None:
    """A chunk of a streamed chat completion."""
    from openai.types.chat import ChatCompletionChunk

    check("openai", "CreateChatCompletionStreamResponse", body)
    check_type(ChatCompletionChunk, body)


def check_error(body: Any) -> None:
    """The body of any refusal: exactly the four published members, and a message that says something."""
    check("openai", "ErrorResponse", body)
    check("openresponses", "ErrorPayload", body["error"])
    assert set(body) == {"error"}, f"members beside error: {sorted(body)}"
    assert set(body["error"]) == {"message", "type", "param", "code"}, f"error: members are {sorted(body['error'])}"
    assert body["error"]["message"].strip(), "error.message: empty"


def check_model(body: Any) -> None:
    """A model."""
    from openai.types import Model

    check("openai", "Model", body)
    check_type(Model, body)


def check_list(body: Any, item_schema: str) -> None:
    """A list with items of OpenAI's `item_schema`: "Model", "ItemResource", "CreateChatCompletionResponse", ….

    Lists in pages (all but the list of models) also have `first_id`, `last_id` and `has_more`.
    """
    assert body.get("object") == "list", f"object: {body.get('object')!r}"
    assert isinstance(body.get("data"), list), "data: not an array"
    for position, item in enumerate(body["data"]):
        check("openai", item_schema, item, at=["data", position])
    if item_schema == "Model":
        return
    assert type(body.get("has_more")) is bool, "has_more: not a boolean"
    ids = [item["id"] for item in body["data"]] or [None]
    assert (body["first_id"], body["last_id"]) == (ids[0], ids[-1]), "first_id, last_id: not those of the data"


# --- how ------------------------------------------------------------------------------------------------------------
def check(source: str, name: str, value: Any, *, at: list[str | int] | None = None) -> None:
    """Check `value` against schema `name` of `source` ("openai" or "openresponses"). `at`: path to put before."""
    for error in validator(source, name).iter_errors(value):
        path, message = innermost(error)
        where = ".".join(map(str, [*(at or []), *path])) or "the value itself"
        raise AssertionError(f"{source} {name}: {where}: {message}")


def check_type(kind: Any, value: Any) -> None:
    """Check `value` against a type of the official package, which at run time would take anything."""
    try:
        adapter(kind).validate_json(json.dumps(value), strict=True)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        raise AssertionError(f"openai package {kind}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def innermost(error: Any) -> tuple[list[str | int], str]:
    """Path and message of what is really wrong: in a union, of the branch that the value was meant for."""
    branches = getattr(error.kind, "context", None)
    if not branches:
        return list(error.instance_path), error.message
    depth = len(error.instance_path)
    return innermost(min(branches, key=lambda errors: strangeness(errors, depth))[0])


def strangeness(errors: list[Any], depth: int) -> tuple[int, int]:
    """How little a branch of a union at `depth` fits: first by its JSON type and by `type` and `role`, then by all."""
    wrong_kind = [
        error
        for error in errors
        if (error.kind.name == "type" and len(error.instance_path) == depth)
        or (len(error.instance_path) == depth + 1 and error.instance_path[-1] in ("type", "role"))
    ]
    return len(wrong_kind), len(errors)


@cache
def schemas(source: str) -> Body:
    """All schemas of a source, by name."""
    defs: Body = json.loads((HERE / f"{source}.json").read_text(encoding="utf-8"))["$defs"]
    if source == "openai":
        reason = defs["Response"]["allOf"][2]["properties"]["incomplete_details"]["anyOf"][0]["properties"]["reason"]
        reason["enum"] = [*reason["enum"], "steered"]
        defs["ResponseUsage"]["type"] = ["object", "null"]
        for name in ("InputItem", "Item"):
            defs[name]["anyOf"] = defs[name].pop("oneOf")
        defs["TextResponseFormatJsonSchema"]["properties"]["description"]["type"] = ["string", "null"]
    else:
        defs["JsonSchemaResponseFormat"]["properties"]["schema"] = {"type": ["object", "null"]}
    return defs


@cache
def validator(source: str, name: str) -> Any:
    """The compiled schema."""
    defs = schemas(source)
    assert name in defs, f"{source} has no schema {name}"
    return jsonschema_rs.validator_for({"$ref": f"#/$defs/{name}", "$defs": defs})


@cache
def adapter(kind: Any) -> Any:
    """The compiled type."""
    return pydantic.TypeAdapter(kind)


@cache
def openresponses_events() -> frozenset[str]:
    """Types of events that Open Responses knows."""
    return pinned("StreamEvent")


@cache
def openresponses_kinds() -> frozenset[str]:
    """Types of items and of content parts that Open Responses knows."""
    parts = schemas("openresponses")["ResponseContentPartAddedStreamingEvent"]["properties"]["part"]["oneOf"]
    return pinned("ItemField").union(*(pinned_type(part["$ref"]) for part in parts))


def pinned(union: str) -> frozenset[str]:
    """The values of `type` that the branches of a union of Open Responses pin."""
    return frozenset().union(*(pinned_type(branch["$ref"]) for branch in schemas("openresponses")[union]["oneOf"]))


def pinned_type(reference: str) -> frozenset[str]:
    return frozenset(schemas("openresponses")[reference.rpartition("/")[2]]["properties"]["type"]["enum"])


def for_openresponses(body: Body) -> Body:
    """A Response without what Open Responses does not know."""
    choice = body.get("tool_choice")
    known = not isinstance(choice, dict) or choice.get("type") in ("function", "allowed_tools")
    if isinstance(choice, dict) and any(tool.get("type") != "function" for tool in choice.get("tools", [])):
        known = False
    return body | {
        "output": [item for item in body.get("output", []) if item.get("type") in openresponses_kinds()],
        "tools": [tool for tool in body.get("tools", []) if tool.get("type") == "function"],
        **({} if known else {"tool_choice": "auto"}),
        **({"instructions": None} if isinstance(body.get("instructions"), list) else {}),
    }
