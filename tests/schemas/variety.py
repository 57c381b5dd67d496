"""More than three hundred schemas, each with a name: every keyword by itself, together, in depth, and as people write."""

# ruff: noqa: E501
# fmt: off

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

Schema = dict[str, Any]

PATTERNS = [
    *(r"^[a-z]{2}\"[a-z]{2}$", r"^[a-z]{2}\n[a-z]$", r"^[A-Z]:\\[a-z]{3}$", r"^a\tb\r\f$", r"^[\x00-\x1f]{2}$"),
    *(
        r"^\u0041\u00e9$",
        r"^\u{1F600}+$",
        r"^[😀-😎é]{2}$",
        "^\ud83d\ude00$".encode("utf-16", "surrogatepass").decode("utf-16"),
    ),
    *(r"^\ud83d\ude00$", r"^\/a\/b$", r"^[^\"\\]{1,5}$", r"^\bab\b$", r"^a\b.b$", r"^a\Bb$", r"foo", r"^foo", r"foo$"),
    *(r"^a|b$", r"^(?:a|b)?c+$", r"^(?=.*\d)(?=.*[a-z]).{4,6}$", r"^(?!foo).{3,5}$", r"^((?!foo).)*$", r"(?<=x)y$"),
    *(r"^(?<!x)y", r"^\S+@\S+\.\S+$", r"^\d{4}-\d{2}-\d{2}$", r"^\p{Lu}\p{Ll}+$", r"^[\w.-]+$", r"^$", r"^.{3}$"),
    *(r"^[\s\S]{3}$", r"^\W\D\S$", r"^(?<year>\d{4})$", r"^a{2,3}?b*?$", r"^(([a-z])|([0-9]+-))*$", r"^[^]]$"),
    *(r"^\+?[1-9]\d{1,14}$", r"^#[0-9a-fA-F]{6}$", r"^v\d+\.\d+\.\d+(-[a-z0-9.]+)?$", r"^[a-z0-9]+(?:-[a-z0-9]+)*$"),
    *(r"^(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?:25[0-5]|2[0-4]\d|1?\d?\d)){3}$", r"^\$\{[A-Z_]+\}$", r"^\{\"a\":\d\}$"),
]
FORMATS = [
    *("date", "time", "date-time", "duration", "email", "idn-email", "hostname", "idn-hostname", "ipv4", "ipv6"),
    *("uuid", "uri", "uri-reference", "iri", "iri-reference", "uri-template", "json-pointer"),
    *("relative-json-pointer", "regex"),
]
NUMBERS: list[Schema] = [
    {"minimum": 0},
    {"maximum": 0},
    {"exclusiveMinimum": 0},
    {"exclusiveMaximum": 0},
    {"minimum": -5, "maximum": 5},
    {"minimum": 1.0, "maximum": 10.0},
    {"minimum": 99.5, "maximum": 100},
    {"exclusiveMinimum": -1, "exclusiveMaximum": 1},
    {"minimum": -9223372036854775808, "maximum": 9223372036854775807},
    {"minimum": -9223372036854775808},
    {"maximum": 18446744073709551615, "minimum": 0},
    {"minimum": -1.7976931348623157e308, "maximum": 1.7976931348623157e308},
    {"minimum": -9007199254740991, "maximum": 9007199254740991},
    {"minimum": 1e18},
    {"minimum": 10**25},
    {"maximum": -(10**19)},
    {"minimum": -2147483648, "maximum": 2147483647},
    {"multipleOf": 1},
    {"multipleOf": 2},
    {"multipleOf": 5, "minimum": 0, "maximum": 100},
    {"multipleOf": 7},
    {"multipleOf": 7, "minimum": 1000},
    {"multipleOf": 100, "minimum": 0},
    {"multipleOf": 2.0},
    {"minimum": 1000000, "maximum": 1000000},
]
FRACTIONS: list[Schema] = [
    {"minimum": 0.1, "maximum": 0.3},
    {"exclusiveMinimum": 0.1, "exclusiveMaximum": 0.3},
    {"minimum": 1e-9},
    {"minimum": 5e-324},
    {"multipleOf": 0.01},
    {"multipleOf": 0.5, "minimum": -2, "maximum": 2},
    {"multipleOf": 0.1, "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    {"minimum": -180, "maximum": 180},
    {"exclusiveMaximum": 12345.678},
]
NAMES = [
    *(
        "Größe",
        "a b",
        "a[0]",
        "<T>",
        "`x`",
        "a/b",
        "a~b",
        "a%b",
        "a%20b",
        "日本",
        "q?x#y",
        "^|\\",
        '"',
        "",
        "$ref",
        "a.b",
    ),
    "é",
]
_STRING, _INTEGER, _NUMBER, _NULL = ({"type": kind} for kind in ("string", "integer", "number", "null"))
_SHORT: Schema = {"type": "string", "maxLength": 6}


def closed(**properties: Any) -> Schema:
    """An object with all of these and nothing else."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _strings() -> Iterator[Schema]:
    for text in PATTERNS:
        yield {"type": "string", "pattern": text}
    for name in FORMATS:
        yield {"type": "string", "format": name}
    for least, most in ((0, 0), (1, 1), (2, 5), (0, 40)):
        yield {"type": "string", "minLength": least, "maxLength": most}
    yield {"type": "string", "minLength": 2.0, "maxLength": 4.0}
    yield {"type": "string", "pattern": "^[a-z]+$", "minLength": 3, "maxLength": 5}
    yield {"type": "string", "format": "date", "pattern": "^2024-"}
    yield {"type": "string", "format": "email", "maxLength": 20}
    yield {"allOf": [{"type": "string", "pattern": "a"}, {"pattern": "b"}, {"maxLength": 6}]}
    yield {"type": "string", "not": {"pattern": "[aeiou]"}, "maxLength": 8}
    yield {"type": "string", "not": {"enum": ["a", "b"]}, "maxLength": 1}
    yield {"type": "string", "not": {"const": ""}, "maxLength": 3}
    yield {"type": "string", "format": "of-our-own", "maxLength": 5}
    yield {"type": "string", "contentEncoding": "base64", "maxLength": 5}


def _numbers() -> Iterator[Schema]:
    for bounds in NUMBERS:
        yield {"type": "integer", **bounds}
    for bounds in (*NUMBERS, *FRACTIONS):
        yield {"type": "number", **bounds}
    for name in ("int32", "int64", "uint8", "float", "double"):
        yield {"type": "integer" if "int" in name else "number", "format": name}
    yield {"type": "integer", "not": {"enum": [0, 1, 2]}}
    yield {"type": "number", "not": {"type": "integer"}}
    yield {"type": "integer", "not": {"minimum": 5}}
    yield {"type": "number", "not": {"const": 1}, "minimum": 0, "maximum": 2}
    yield {"allOf": [{"type": "integer", "minimum": 0}, {"maximum": 9}, {"multipleOf": 3}]}


def _values() -> Iterator[Schema]:
    odd = ['a"b', "a\\b", "a\nb", "\u2028", "é😀", "", " ", "{", "</s>", "<|im_end|>", "\x7f", "\x01"]
    yield {"enum": odd}
    yield {"enum": [1, 1.5, -0.25, 1e10, 12345678901234567890]}
    yield {"enum": [None, True, False, 0, "0", [], {}]}
    yield {"enum": [{"a": [1, {"b": None}]}, [[]], {"é": "\n"}]}
    yield {"const": {"a": 1, "b": [1, 2.0]}}
    yield {"const": None}
    yield {"type": "string", "enum": ["a", 1, None, "b"]}
    yield {"type": ["string", "null"], "enum": ["x", None]}
    yield {"type": "string", "enum": ["a", "bbbb", "cc"], "maxLength": 2}
    yield {"enum": ["a", "b", "c"], "not": {"const": "b"}}
    yield {"allOf": [{"enum": [1, 2, 3]}, {"enum": [2, 3.0, 4]}]}
    yield {"enum": [f"value {i}" for i in range(300)]}
    for kind in ("string", "integer", "number", "boolean", "null", "array", "object"):
        yield {"type": kind}
    for pair in combinations(("string", "integer", "number", "boolean", "null"), 2):
        yield {"type": list(pair)}
    yield {"type": ["object", "array", "null"]}
    yield {"not": {"type": ["object", "array", "string"]}}


def _arrays() -> Iterator[Schema]:
    for least, most in ((0, 0), (1, 1), (2, 4), (3, None), (0, 3), (2.0, 3.0)):
        yield {
            "type": "array",
            "items": _INTEGER,
            "minItems": least,
            **({"maxItems": most} if most is not None else {}),
        }
    yield {"type": "array", "items": {"type": "array", "items": _INTEGER, "maxItems": 2}, "maxItems": 2}
    yield {"type": "array", "items": closed(a=_INTEGER), "minItems": 1, "maxItems": 2}
    yield {"type": "array", "prefixItems": [_INTEGER, _SHORT, _NULL], "items": False}
    yield {"type": "array", "prefixItems": [_INTEGER, _SHORT], "items": False, "minItems": 2}
    yield {"type": "array", "prefixItems": [_INTEGER], "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4}
    yield {"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": True}
    yield {"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": True, "minItems": 2, "maxItems": 2}
    yield {"type": "array", "items": _INTEGER, "uniqueItems": True, "maxItems": 3}
    yield {"type": "array", "items": {"type": ["integer", "null"]}, "contains": _INTEGER, "maxItems": 3}
    yield {"type": "array", "contains": {"const": 1}, "minContains": 2, "maxItems": 4}
    yield {"type": "array", "contains": {"const": 1}, "maxContains": 1, "maxItems": 3}
    yield {"allOf": [{"type": "array", "items": {"minimum": 0}}, {"items": _INTEGER, "maxItems": 3}]}
    yield {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "items": [_INTEGER, _NULL],
        "additionalItems": False,
        "type": "array",
    }
    yield {"type": "array", "prefixItems": [_INTEGER], "unevaluatedItems": False}
    yield {"type": "array", "items": False}
    yield {"type": "array", "items": {"anyOf": [_SHORT, _INTEGER, _NULL]}, "maxItems": 3}


def _objects() -> Iterator[Schema]:
    yield closed()
    yield closed(a=_INTEGER, b=_SHORT, c={"type": "boolean"})
    yield {"type": "object", "properties": {"a": _INTEGER, "b": _INTEGER, "c": _INTEGER}, "additionalProperties": False}
    yield {"type": "object", "properties": {"a": _INTEGER, "b": _INTEGER}, "required": ["b"]}
    yield {"type": "object", "properties": {"a": _INTEGER}, "required": ["a", "z"]}
    yield {"type": "object", "properties": {"a": _INTEGER, "b": False}, "required": ["a"]}
    yield {"type": "object", "additionalProperties": _INTEGER, "maxProperties": 2}
    yield {"type": "object", "additionalProperties": _INTEGER, "minProperties": 1, "maxProperties": 2}
    yield {"type": "object", "additionalProperties": _INTEGER, "minProperties": 3}
    yield {"type": "object", "properties": dict.fromkeys("abcd", _NULL), "minProperties": 2, "maxProperties": 3}
    yield {
        "type": "object",
        "properties": {"a": _INTEGER},
        "additionalProperties": {"type": "boolean"},
        "maxProperties": 3,
    }
    yield {"type": "object", "patternProperties": {"^s_": _SHORT, "^n_": _INTEGER}, "additionalProperties": False}
    yield {"type": "object", "patternProperties": {"a": _INTEGER, "b": {"minimum": 3}}, "additionalProperties": False}
    yield {"type": "object", "properties": {"s_a": {}}, "patternProperties": {"^s_": _SHORT}, "required": ["s_a"]}
    yield {
        "type": "object",
        "propertyNames": {"pattern": "^[a-z]{2}$"},
        "additionalProperties": _INTEGER,
        "maxProperties": 2,
    }
    yield {"type": "object", "propertyNames": {"enum": ["x", "y"]}, "additionalProperties": _INTEGER}
    yield {"type": "object", "propertyNames": {"maxLength": 3}, "additionalProperties": _NULL}
    yield {"type": "object", "properties": {"a": {}, "b": {}}, "dependentRequired": {"a": ["b"]}}
    yield {"type": "object", "properties": {"a": _NULL, "b": _NULL}, "dependentSchemas": {"a": {"required": ["b"]}}}
    yield {"type": "object", "properties": {"a": _NULL}, "unevaluatedProperties": False}
    yield {"allOf": [closed(a=_INTEGER), {"properties": {"a": {"minimum": 3}}}]}
    yield {
        "allOf": [{"properties": {"a": _INTEGER}, "required": ["a"]}, {"properties": {"b": _SHORT}, "required": ["b"]}],
        "type": "object",
        "unevaluatedProperties": False,
    }
    yield {"type": "object", "not": {"required": ["a"]}, "properties": {"a": {}, "b": _INTEGER}}
    yield {"type": "object", "properties": dict.fromkeys(NAMES, _INTEGER), "required": NAMES[:5]}
    yield {"type": "object", "properties": {f"p{i}": _INTEGER for i in range(60)}, "required": ["p3"]}
    deep: Schema = _INTEGER
    for level in range(9):
        deep = closed(**{f"level{level}": deep})
    yield deep


def _references() -> Iterator[Schema]:
    for name in NAMES:
        pointer = name.replace("~", "~0").replace("/", "~1")
        yield {**closed(a={"$ref": f"#/$defs/{pointer}"}), "$defs": {name: _INTEGER}}
    yield {**closed(a={"$ref": "#/$defs/Gr%C3%B6%C3%9Fe"}), "$defs": {"Größe": _INTEGER}}
    yield {**closed(a={"$ref": "#/definitions/a"}), "definitions": {"a": {"$ref": "#/definitions/b"}, "b": _SHORT}}
    yield closed(größe=_INTEGER, b={"$ref": "#/properties/größe"})
    yield {**closed(a={"$ref": "#there"}), "$defs": {"x": {"$anchor": "there", "type": "integer"}}}
    yield {
        **closed(a={"$ref": "x.json"}),
        "$id": "http://e.org/r.json",
        "$defs": {"x": {"$id": "x.json", "type": "integer"}},
    }
    yield {**closed(a={"$ref": "#/$defs/n", "minimum": 5}), "$defs": {"n": _INTEGER}}
    tree = {"type": "object", "properties": {"v": _INTEGER, "next": {"$ref": "#/$defs/t"}}, "required": ["v"]}
    yield {"$ref": "#/$defs/t", "$defs": {"t": {**tree, "additionalProperties": False}}}
    item = closed(v=_INTEGER, next={"anyOf": [{"$ref": "#"}, _NULL]})
    yield item
    yield {
        "$ref": "#/$defs/t",
        "$defs": {"t": closed(v=_SHORT, of={"type": "array", "items": {"$ref": "#/$defs/t"}, "maxItems": 2})},
    }
    yield {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, _INTEGER]}}}
    yield {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$ref": "#/definitions/a",
        "type": "string",
        "definitions": {"a": _INTEGER},
    }


def _choices() -> Iterator[Schema]:
    cat, dog = closed(kind={"const": "cat"}, lives=_INTEGER), closed(kind={"const": "dog"}, name=_SHORT)
    yield {"anyOf": [cat, dog]}
    yield {"oneOf": [cat, dog]}
    yield {"oneOf": [_INTEGER, _NUMBER]}
    yield {"oneOf": [_SHORT, {"type": "string", "pattern": "^a"}]}
    yield {"oneOf": [{"type": "integer", "multipleOf": 2}, {"type": "integer", "multipleOf": 3}]}
    yield {"oneOf": [{"type": "integer", "maximum": 3}, {"type": "integer", "minimum": 3}]}
    yield {
        "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
        "type": "object",
        "properties": {"a": _NULL, "b": _NULL},
    }
    yield {
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
        "type": "object",
        "properties": {"a": _NULL, "b": _NULL},
    }
    yield {"anyOf": [_SHORT, {"type": "array", "items": _SHORT, "maxItems": 2}, _NULL]}
    yield {"anyOf": [{"minimum": 3}, {"maximum": -3}], "type": "integer"}
    yield {"anyOf": [{"format": "date"}, {"format": "ipv4"}], "type": "string"}
    yield {"anyOf": [{"enum": ["auto", "none"]}, closed(kind={"const": "x"})]}
    yield {"anyOf": [{"anyOf": [_INTEGER, _NULL]}, {"oneOf": [_SHORT, {"type": "boolean"}]}]}
    yield {"allOf": [{"anyOf": [_INTEGER, _SHORT]}, {"anyOf": [_INTEGER, _NULL]}]}
    kinds = {"type": "object", "properties": {"k": {"enum": ["x", "y"]}, "v": {}}, "required": ["k", "v"]}
    yield {
        **kinds,
        "if": {"properties": {"k": {"const": "x"}}},
        "then": {"properties": {"v": _INTEGER}},
        "else": {"properties": {"v": _SHORT}},
    }
    yield {
        **kinds,
        "if": {"properties": {"k": {"const": "x"}}, "required": ["k"]},
        "then": {"properties": {"v": _INTEGER}},
    }
    yield {"if": _INTEGER, "then": {"minimum": 5}, "else": {"type": "boolean"}}
    yield {"type": ["integer", "string"], "if": {"type": "string"}, "then": {"maxLength": 2}}
    yield {"not": {"not": _INTEGER}}
    yield {"not": {"anyOf": [_SHORT, _NUMBER, {"type": "object"}, {"type": "array"}]}}
    yield {"type": "integer", "not": {"anyOf": [{"minimum": 10}, {"maximum": 0}]}}


def _together() -> Iterator[Schema]:
    leaves: list[Schema] = [
        {"type": "string", "pattern": r"^\w+\"\d$"}, {"type": "string", "format": "date-time"}, {"type": "integer", "minimum": -(2**63)},
        {"type": "number", "multipleOf": 0.25, "minimum": 0, "maximum": 9}, {"enum": ["a", None, 3]}, {"type": ["boolean", "null"]},
        {"type": "array", "items": _SHORT, "maxItems": 2}, {"type": "string", "format": "uri", "maxLength": 40}, {"const": {"x": []}},
    ]
    for one, other in combinations(leaves, 2):
        yield {"type": "object", "properties": {"a": one, "b": {"anyOf": [other, _NULL]}}, "required": ["a"]}
    for leaf in leaves:
        yield {"type": "array", "items": closed(v=leaf), "minItems": 1, "maxItems": 2}
        yield {"type": "object", "additionalProperties": leaf, "propertyNames": {"pattern": "^[a-c]{1,2}$"}, "maxProperties": 2}


def _as_people_write() -> Iterator[Schema]:
    money = {"type": "number", "multipleOf": 0.01, "minimum": 0, "maximum": 1000}
    yield closed(
        order=closed(id={"type": "string", "format": "uuid"}, total=money, at={"type": "string", "format": "date-time"})
    )
    yield closed(
        lat={"type": "number", "minimum": -90, "maximum": 90}, lon={"type": "number", "minimum": -180, "maximum": 180}
    )
    yield closed(
        url={"type": "string", "format": "uri"},
        method={"enum": ["GET", "POST"]},
        headers={"type": "object", "additionalProperties": _SHORT},
    )
    yield {
        "type": "object",
        "properties": {"cmd": {"type": "array", "items": _SHORT, "minItems": 1}, "cwd": {"type": ["string", "null"]}},
        "required": ["cmd"],
    }
    yield {
        "title": "T",
        "description": "D",
        "type": "object",
        "properties": {"a": {"title": "A", "default": 3, "type": "integer", "examples": [1]}},
    }
    yield {"$schema": "https://json-schema.org/draft/2020-12/schema", **closed(a=_INTEGER)}
    yield closed(steps={"type": "array", "maxItems": 2, "items": closed(why=_SHORT, out=_SHORT)}, answer=_SHORT)
    yield {"type": "object", "properties": {"q": _STRING}, "required": ["q"], "x-order": ["q"], "nullable": True}
    yield {
        "type": "object",
        "properties": {"x": {"type": "integer", "minimum": 1, "exclusiveMinimum": True}},
        "$schema": "http://json-schema.org/draft-04/schema#",
    }
    yield {}


_PARTS = (_strings, _numbers, _values, _arrays, _objects, _references, _choices, _together, _as_people_write)


def schemas() -> Mapping[str, Schema]:
    """All of them, by names such as "strings-7"."""
    found: dict[str, Schema] = {}
    for part in _PARTS:
        for index, schema in enumerate(part()):
            found[f"{part.__name__.strip('_')}-{index}"] = schema
    return found


def strict(schema: Schema) -> Schema:
    """One that may be asked for as strict: its root is an object without more than it declares."""
    if schema.get("type") == "object" and schema.get("additionalProperties") is False and "properties" in schema:
        return schema
    definitions = {key: schema[key] for key in ("$defs", "definitions", "$schema", "$id") if key in schema}
    rest = {key: value for key, value in schema.items() if key not in definitions}
    return {**closed(value=rest), **definitions}
