"""Make the schema data of this repository out of the two published specifications.

    python scripts/extract_schemas.py OPENAI_OPENAPI_YAML OPENRESPONSES_OPENAPI_JSON

Writes `src/antiphon/wire/endpoints.json` (paths and their methods) and `src/antiphon/wire/requests.json` (request
*shapes*, see `antiphon.wire.shapes`) from OpenAI's document with `src/antiphon/wire/overlay.json` laid over it, and
`tests/conformance/{openai,openresponses}.json` (plain JSON Schema of what we answer with, without prose). The output is
the same, byte for byte, each time it is run on the same input.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

Schema = dict[str, Any]
Shape = dict[str, Any]

ROOT = Path(__file__).resolve().parent.parent
METHODS = ("get", "post", "put", "patch", "delete")
PREFIX = "#/components/schemas/"
#: What clients may send us.
REQUESTS = (
    "CreateResponse", "TokenCountsBody", "CompactResponseMethodPublicBody",
    "CreateChatCompletionRequest", "UpdateChatCompletionRequest",
    "CreateConversationBody", "UpdateConversationBody", "CreateConversationItems",
    "CreateAdminApiKey", "InviteRequest", "UserRoleUpdateRequest", "ProjectCreateRequest", "ProjectUpdateRequest",
    "ProjectUserCreateRequest", "ProjectUserUpdateRequest", "ProjectServiceAccountCreateRequest",
    "UpdateProjectServiceAccountBody", "CreateProjectServiceAccountApiKeyBody", "UpdateProjectApiKey",
    "ProjectRateLimitUpdateRequest",
    "CreateSpendAlertBody", "UpdateOrganizationSpendLimitBody", "UpdateProjectSpendLimitBody",
)  # fmt: skip
#: The names that we give to bodies which have none, and the paths that they are posted to.
UNNAMED = {
    "UpdateChatCompletionRequest": "/chat/completions/{completion_id}",
    "CreateConversationItems": "/conversations/{conversation_id}/items",
    "CreateAdminApiKey": "/organization/admin_api_keys",
}
#: What we answer with, by OpenAI's names.
OPENAI_ANSWERS = (
    "Response", "ResponseStreamEvent", "ResponseItemList", "TokenCountsResource", "CompactResource",
    "CreateChatCompletionResponse",
    "CreateChatCompletionStreamResponse", "ChatCompletionList", "ChatCompletionMessageList", "ChatCompletionDeleted",
    "Model", "ListModelsResponse", "ErrorResponse",
    "ConversationResource", "ConversationItem", "ConversationItemList", "DeletedConversationResource",
    "AdminApiKey", "AdminApiKeyCreateResponse", "Invite", "InviteDeleteResponse", "User", "UserDeleteResponse",
    "Project", "ProjectUser", "ProjectUserDeleteResponse", "ProjectApiKey", "ProjectApiKeyDeleteResponse",
    "ProjectServiceAccount", "ProjectServiceAccountCreateResponse", "ProjectServiceAccountDeleteResponse",
    "ServiceAccountApiKeyBody", "AuditLog",
    "ProjectRateLimit", "ProjectRateLimitListResponse",
    "UsageResponse", "OrganizationSpendLimitResource", "OrganizationSpendLimitDeletedResource",
    "ProjectSpendLimitResource", "ProjectSpendLimitDeletedResource", "OrganizationSpendAlert", "ProjectSpendAlert",
    "OrganizationSpendAlertListResource", "ProjectSpendAlertListResource",
    "OrganizationSpendAlertDeletedResource", "ProjectSpendAlertDeletedResource",
)  # fmt: skip
#: What we answer with, by Open Responses' names; its stream events are added from its one streaming operation.
OPENRESPONSES_ANSWERS = ("ResponseResource", "ItemField", "CompactResource", "ErrorPayload")
#: Members of a schema that say nothing about which values are right.
PROSE = {"description", "example", "examples", "title", "externalDocs", "default", "deprecated", "summary"}
STRING_RULES = ("minLength", "maxLength", "pattern")
NUMBER_RULES = ("minimum", "maximum")


def strip(node: Any, *, names: bool = False) -> Any:
    """`node` without prose and vendor extensions. `names`: its keys are names of properties, to be kept as they are."""
    if isinstance(node, list):
        return [strip(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: strip(value, names=not names and key in ("properties", "mapping"))
        for key, value in node.items()
        if names or not (key in PROSE or key.startswith("x-"))
    }


def references(node: Any) -> set[str]:
    """Names of the components that `node` refers to directly."""
    return set(re.findall(re.escape(PREFIX) + r'([^"]+)"', json.dumps(node)))


def reachable(schemas: dict[str, Schema], roots: tuple[str, ...]) -> dict[str, Schema]:
    """The components that `roots` need, by name."""
    found: dict[str, Schema] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = schemas[name]
            waiting += references(schemas[name])
    return dict(sorted(found.items()))


def lay_over(base: Any, patch: Any) -> Any:
    """`base` changed by `patch`: objects merge, `"key+"` appends to a list, `{"=": x}` and the rest replace."""
    if not isinstance(patch, dict):
        return patch
    if "=" in patch:
        return patch["="]
    result = dict(base) if isinstance(base, dict) else {}
    for key, value in patch.items():
        if key.endswith("+"):
            result[key[:-1]] = [*result[key[:-1]], *value]
        else:
            result[key] = lay_over(result.get(key), value)
    return result


class Shaper:
    """Turns JSON Schema components into shapes: one rule for each JSON type, so that one look decides a union."""

    def __init__(self, schemas: dict[str, Schema]) -> None:
        self.schemas = schemas
        self.current = ""

    def component(self, name: str) -> Shape:
        """The shape of a named component."""
        self.current = name
        return self.shape(self.schemas[name])

    def deref(self, shape: Shape) -> Shape:
        """`shape` with a leading reference replaced by what it refers to."""
        while "ref" in shape:
            held, current = dict(shape), self.current
            target = self.component(held.pop("ref"))
            self.current = current
            shape = {**target, **held}
        return shape

    def is_object(self, shape: Shape) -> bool:
        """Whether `shape` refers to a plain object. Seen without shaping it: schemas may refer to themselves."""
        return set(shape) == {"ref"} and "properties" in self.schemas[shape["ref"]]

    def shape(self, schema: Schema) -> Shape:
        """The shape of any schema."""
        nullable = {"null": True} if schema.get("nullable") else {}
        if "$recursiveRef" in schema:
            return {"ref": self.current, **nullable}
        if "$ref" in schema:
            return {"ref": schema["$ref"].removeprefix(PREFIX).removeprefix("#"), **nullable}
        if "allOf" in schema:
            return {**self.all_of(schema["allOf"]), **nullable}
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return {**self.union([self.shape(branch) for branch in schema[word]], schema), **nullable}
        return {**self.plain(schema), **nullable}

    def plain(self, schema: Schema) -> Shape:
        """The shape of a schema without combinators."""
        kind = schema.get("type", "object" if "properties" in schema else None)
        if kind is None:
            return {"any": True}
        if kind == "null":
            return {"null": True}
        if kind == "string":
            rules = {key: schema[key] for key in STRING_RULES if key in schema}
            return {"string": {**rules, **({"enum": schema["enum"]} if "enum" in schema else {})}}
        if kind in ("integer", "number"):
            return {kind: {key: schema[key] for key in NUMBER_RULES if key in schema}}
        if kind == "boolean":
            return {"boolean": {}}
        if kind == "array":
            rules = {key: schema[key] for key in ("minItems", "maxItems") if key in schema}
            return {"array": {**rules, "items": self.shape(schema.get("items", {}))}}
        return {"object": self.object_rules(schema)}

    def object_rules(self, schema: Schema) -> Schema:
        """The rules of an object. One that names no members at all is a free map."""
        properties = {name: self.shape(value) for name, value in schema.get("properties", {}).items()}
        # A member that may be null may also be left out: clients replay items without their nulls. And the document
        # requires a few members that it does not define.
        required = [
            name
            for name in schema.get("required", [])
            if name in properties and not self.deref(properties[name]).get("null")
        ]
        rules: Schema = {"properties": properties, "required": required}
        free = schema.get("additionalProperties", not properties)
        if free is not False:
            rules["others"] = self.shape(free) if isinstance(free, dict) else {"any": True}
        if "maxProperties" in schema:
            rules["maxProperties"] = schema["maxProperties"]
        if "propertyNames" in schema:
            rules["names"] = {
                key: schema["propertyNames"][key] for key in STRING_RULES if key in schema["propertyNames"]
            }
        return rules

    def all_of(self, parts: list[Schema]) -> Shape:
        """Objects laid one over the other; a later definition of a member replaces an earlier one."""
        merged: Schema = {"properties": {}, "required": []}
        for part in parts:
            rules = self.deref(self.shape(part))["object"]
            merged["properties"] |= rules["properties"]
            merged["required"] += rules["required"]
        return {"object": merged}

    def union(self, branches: list[Shape], schema: Schema) -> Shape:
        """One shape that takes what any branch takes."""
        kinds = [("object",) if self.is_object(branch) else tuple(self.deref(branch)) for branch in branches]
        nullable = {"null": True} if any("null" in kind for kind in kinds) else {}
        rest = [branch for branch in branches if set(branch) != {"null"}]
        if len(rest) == 1:
            return {**rest[0], **nullable}
        result: Shape = dict(nullable)
        objects: list[Shape] = []
        for branch in rest:
            if self.is_object(branch):
                objects.append(branch)
                continue
            for kind, rules in self.deref(branch).items():
                if kind in ("object", "switch"):
                    objects.append(branch)
                elif kind == "string" and kind in result:
                    result[kind] = merge_strings(result[kind], rules)
                elif kind != "null" and kind in result:
                    raise SystemExit(f"{self.current}: two branches of type {kind}; describe it in the overlay")
                else:
                    result[kind] = rules
        if len(objects) == 1:
            result["object"] = self.deref(objects[0])["object"]
        elif objects:
            result["switch"] = self.switch(objects, schema)
        return result

    def switch(self, branches: list[Shape], schema: Schema) -> Schema:
        """Choose a branch by a member that each branch pins to values of its own."""
        on = schema.get("discriminator", {}).get("propertyName", "type")
        named = schema.get("discriminator", {}).get("cases", {})  # only the overlay names cases
        cases = {value: self.shape(branch) for value, branch in named.items()}
        for branch in branches:
            if self.is_object(branch):
                found = dict.fromkeys(self.schemas[branch["ref"]]["properties"][on]["enum"], branch)
            elif "object" in branch:
                found = dict.fromkeys(branch["object"]["properties"][on]["string"]["enum"], branch)
            else:
                inner = self.deref(branch)["switch"]
                assert inner["on"] == on, f"{self.current}: nested unions choose by different members"
                found = inner["cases"]
            if cases.keys() & found.keys():
                raise SystemExit(f"{self.current}: {cases.keys() & found.keys()} twice; describe it in the overlay")
            cases |= found
        without = [[name, self.shape(branch)] for name, branch in schema.get("without", [])]
        return {"on": on, "cases": cases, **({"without": without} if without else {})}


def merge_strings(one: Schema, other: Schema) -> Schema:
    """Rules for a string that may satisfy either: the looser of the two."""
    if "enum" in one and "enum" in other:
        return {"enum": [*one["enum"], *(value for value in other["enum"] if value not in one["enum"])]}
    return other if "enum" in one else one


def requests(document: Schema, overlay: Schema) -> dict[str, Shape]:
    """The shapes of all requests."""
    schemas: dict[str, Schema] = strip(document["components"]["schemas"], names=True)
    # Bodies that the document describes where they are sent, without a name.
    for name, path in UNNAMED.items():
        body = document["paths"][path]["post"]["requestBody"]
        schemas[name] = strip(body["content"]["application/json"]["schema"])
    for section in overlay.values():
        for name, patch in section.items():
            schemas[name] = lay_over(schemas.get(name, {}), patch)
    shaper = Shaper(schemas)
    shapes: dict[str, Shape] = {}
    waiting = list(REQUESTS)
    while waiting:
        name = waiting.pop()
        if name not in shapes:
            shapes[name] = shaper.component(name)
            waiting += re.findall(r'"ref": "([^"]+)"', json.dumps(shapes[name]))
    return dict(sorted(shapes.items()))


def endpoints(document: Schema, newer: dict[str, list[str]]) -> dict[str, list[str]]:
    """Every path and its methods, without the query that some are told apart by."""
    found: dict[str, set[str]] = {path: set(methods) for path, methods in newer.items()}
    for path, operations in document["paths"].items():
        methods = {method.upper() for method in operations if method in METHODS}
        found.setdefault(path.split("?")[0], set()).update(methods)
    return {path: sorted(methods) for path, methods in sorted(found.items())}


def openai_answers(document: Schema) -> dict[str, Schema]:
    """JSON Schema of what we answer with, from OpenAI's document."""
    schemas = strip(document["components"]["schemas"], names=True)
    return json_schema(reachable(schemas, OPENAI_ANSWERS))


def openresponses_answers(document: Schema) -> dict[str, Schema]:
    """JSON Schema of what we answer with, from the Open Responses document. `StreamEvent` is any event of a stream."""
    schemas = strip(document["components"]["schemas"], names=True)
    answer = document["paths"]["/responses"]["post"]["responses"]["200"]["content"]["text/event-stream"]["schema"]
    schemas["StreamEvent"] = strip(answer)
    return json_schema(reachable(schemas, ("StreamEvent", *OPENRESPONSES_ANSWERS)))


def json_schema(node: Any) -> Any:
    """OpenAPI's dialect as plain JSON Schema 2020-12: `nullable` spelled out, references into `$defs`."""
    if isinstance(node, list):
        return [json_schema(item) for item in node]
    if not isinstance(node, dict):
        return node.replace(PREFIX, "#/$defs/") if isinstance(node, str) else node
    node = {key: json_schema(value) for key, value in node.items() if key not in ("discriminator", "$recursiveAnchor")}
    if "$recursiveRef" in node:
        return {"$ref": "#/$defs/CompoundFilter"}  # the one recursive schema of the document
    if node.get("nullable") is True:
        del node["nullable"]
        return {"anyOf": [node, {"type": "null"}]}
    return node


def write(path: Path, value: Any) -> None:
    """Write compact JSON with sorted keys where order means nothing."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    print(f"{path.relative_to(ROOT)}: {len(text):,} bytes")


def main(openai_path: str, openresponses_path: str) -> None:
    """Read both documents and write the four files."""
    import yaml

    openai = yaml.load(
        Path(openai_path).read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    )
    openresponses = json.loads(Path(openresponses_path).read_text(encoding="utf-8"))
    overlay = json.loads((ROOT / "src/antiphon/wire/overlay.json").read_text(encoding="utf-8"))
    del overlay["about"]
    newer = overlay.pop(next(section for section in overlay if section.startswith("endpoints")))
    write(ROOT / "src/antiphon/wire/endpoints.json", endpoints(openai, newer))
    write(ROOT / "src/antiphon/wire/requests.json", requests(openai, overlay))
    write(ROOT / "tests/conformance/openai.json", {"$defs": openai_answers(openai)})
    write(ROOT / "tests/conformance/openresponses.json", {"$defs": openresponses_answers(openresponses)})


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(sys.argv[1], sys.argv[2])
