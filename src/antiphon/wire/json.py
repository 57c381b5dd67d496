"""JSON in and out. What `decode` lets through, `encode` can always write again."""

from __future__ import annotations

import re

import msgspec

#: A JSON string; outside of these, commas and brackets are structure. It never gives back what it took, and one without
#: an end goes to the end of the body: so a search takes time in proportion to the body, whatever is in it.
_STRING = rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)'
#: All up to the next mark that begins a value, or up to the end.
_TO_NEXT_VALUE = re.compile(rb'(?:[^",\[{]++|' + _STRING + rb")*+(?:[,\[{]|\Z)", re.DOTALL)
_STRINGS_AND_BRACKETS = re.compile(_STRING + rb"|[\[{\]}]", re.DOTALL)
#: The first half of a surrogate pair (as an escape) without the second.
_HALF_PAIR = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])")
_POSITION = re.compile(r" \(byte (\d+)\)$")
#: Defaults, for whoever has no limits of their own.
MAX_DEPTH = 128
MAX_VALUES = 2_000_000
_LONG_LINE = 1_000_000
_encoder = msgspec.json.Encoder()


class MalformedJSON(ValueError):
    """Bytes that are not JSON, or not JSON that we take. `position` is the offset of the byte where it went wrong."""

    def __init__(self, message: str, position: int, reason: str = "") -> None:
        """`reason`: the message without the place."""
        super().__init__(message)
        self.message = message
        self.position = position
        self.reason = reason or message.removesuffix(".")


def encode(value: object) -> bytes:
    """`value` as JSON in UTF-8, without spaces."""
    return _encoder.encode(value)


def decode(body: bytes, *, max_depth: int = MAX_DEPTH, max_values: int = MAX_VALUES) -> object:
    """The value of a JSON document in UTF-8.

    `max_depth`: containers in containers. `max_values`: values in all containers together, for some bytes of body can
    cost twenty times as many of memory. Raises `MalformedJSON`. NaN, infinities, numbers out of range and halves of
    surrogate pairs are malformed; of members with one name the last counts.
    """
    if body.count(b",") + body.count(b"[") + body.count(b"{") > max_values:
        _count_values(body, max_values)
    try:
        value: object = msgspec.json.decode(body)
    except RecursionError:
        raise _too_deep(body, max_depth) from None
    except msgspec.ValidationError as error:
        raise MalformedJSON(_sentence(str(error).split(" - ")[0]), 0) from None
    except UnicodeDecodeError:
        raise _not_utf8(body) from None
    except msgspec.DecodeError as error:
        raise _located(body, str(error)) from None
    if body.count(b"[") + body.count(b"{") > max_depth and _depth(value, max_depth) > max_depth:
        raise _too_deep(body, max_depth)
    return value


def _count_values(body: bytes, max_values: int) -> None:
    for count, found in enumerate(_TO_NEXT_VALUE.finditer(body)):
        if count >= max_values and found.end() < len(body):
            raise located_at(body, found.end(), f"more than {max_values} values in it")


def _depth(value: object, enough: int) -> int:
    """How deep containers are nested in `value`, counted no further than `enough` + 1."""
    level = [value]
    depth = 0
    while level and depth <= enough:
        containers = [item for item in level if isinstance(item, dict | list)]
        level = [inner for item in containers for inner in (item.values() if isinstance(item, dict) else item)]
        depth += bool(containers)
    return depth


def _too_deep(body: bytes, max_depth: int) -> MalformedJSON:
    """The error for nesting over the limit, at the bracket that goes over it."""
    depth = 0
    for token in _STRINGS_AND_BRACKETS.finditer(body):
        mark = token.group()[:1]
        depth += (mark in b"[{") - (mark in b"]}")
        if depth > max_depth:
            return located_at(body, token.start(), f"nested deeper than {max_depth} levels")
    return MalformedJSON(_sentence(f"nested deeper than {max_depth} levels"), 0)


def _not_utf8(body: bytes) -> MalformedJSON:
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        return located_at(body, error.start, "not UTF-8")
    return MalformedJSON(_sentence("not UTF-8"), 0)


def _located(body: bytes, message: str) -> MalformedJSON:
    """The decoder's complaint, with the place as a line and a column."""
    found = _POSITION.search(message)
    if found is not None:
        text = message[: found.start()].removeprefix("JSON is malformed: ")
        # The decoder has already stepped over the first of trailing characters; all else it reports where it is, or
        # within the same word.
        return located_at(body, int(found.group(1)) - (text == "trailing characters"), text)
    if not body.strip():
        return MalformedJSON("The body is empty.", 0)
    half = _HALF_PAIR.search(body)
    if half is not None:
        return located_at(body, half.start(), "invalid utf-16 surrogate pair")
    return located_at(body, len(body), "it ends too early")


def located_at(body: bytes, position: int, text: str) -> MalformedJSON:
    """The error for what is wrong at this position, with the place as a line and a column."""
    line = body.count(b"\n", 0, position) + 1
    start = body.rfind(b"\n", 0, position) + 1
    before = body[start:position]
    # Characters; of a very long line bytes, since nobody counts to there.
    column = (len(before.decode("utf-8", "replace")) if len(before) < _LONG_LINE else len(before)) + 1
    return MalformedJSON(_sentence(f"{text} at line {line}, column {column} (byte {position})"), position, text)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
