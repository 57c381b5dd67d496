"""One schema as a whole: its names put into the form that URIs want, and its `$ref`s found."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote, urldefrag, urljoin

from antiphon.engines.schemas.enforce.patterns import Unsupported

#: Keywords whose values are values, and no schemas.
VALUES = frozenset({"enum", "const", "default", "examples", "example"})
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_PLAIN = "/%:?@!$&'()*+,;=~._-"
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PAIR = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_COUNTS = frozenset(f"{end}{what}" for end in ("min", "max") for what in ("Length", "Items", "Properties", "Contains"))
#: Where an `$id` may move the base that `$ref`s are read against.
_BASE = "antiphon:/schema"


def normalised(root: Any) -> Any:
    """The same schema in the words that the libraries take: `$ref`s with what a URI must escape escaped, whole numbers
    where only these make sense, characters of patterns named as a whole.

    Raises RecursionError for one that nests too deeply.
    """
    return _normalised(root, root)


def _normalised(value: Any, root: Any) -> Any:
    if isinstance(value, list):
        return [_normalised(inner, root) for inner in value]
    if not isinstance(value, dict):
        return value
    made: dict[str, Any] = {}
    for key, inner in value.items():
        if key in VALUES:
            made[key] = inner
        elif isinstance(inner, str):
            made[key] = _text(key, inner, root)
        elif key in _COUNTS and isinstance(inner, float) and inner.is_integer():
            made[key] = int(inner)
        else:
            made[key] = _normalised(inner, root)
    return made


def _text(key: str, text: str, root: Any) -> str:
    if key in _REFERENCES:
        address, sign, fragment = text.partition("#")
        # A name that is itself written with percent signs, and was not escaped once more.
        literal = "%" in fragment and not _leads(unquote(fragment), root) and _leads(fragment, root)
        fragment = fragment.replace("%", "%25") if literal else _PERCENT.sub("%25", fragment)
        return quote(_PERCENT.sub("%25", address), safe=_PLAIN) + sign + quote(fragment, safe=_PLAIN)
    if key == "pattern":
        return _PAIR.sub(_whole_character, text)
    return text


def _leads(pointer: str, root: Any) -> bool:
    """Whether a JSON pointer leads to something."""
    found = root
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        elif isinstance(found, dict) and name in found:
            found = found[name]
        else:
            return False
    return True


def _whole_character(found: re.Match[str]) -> str:
    high, low = int(found[0][2:6], 16), int(found[0][8:12], 16)
    return f"\\u{{{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00):x}}}"


class Document:
    """Finds what `$ref`s of a normalised schema refer to."""

    def __init__(self, root: Any) -> None:
        self.root = root
        draft = root.get("$schema", "") if isinstance(root, dict) else ""
        #: Up to draft 7 nothing beside a `$ref` counts, and `items` may be a list.
        self.old = bool(re.search(r"draft-0[3467]", draft)) if isinstance(draft, str) else False
        self._resources: dict[str, Any] = {}
        self._anchors: dict[tuple[str, str], Any] = {}
        self.base = self._own_base(root, _BASE)
        for schema, base in _everywhere(root, self):
            self._resources.setdefault(base, schema)
            for name in ("$anchor", "$dynamicAnchor"):
                if isinstance(schema.get(name), str):
                    self._anchors.setdefault((base, schema[name]), schema)
        self._resources.setdefault(self.base, root)

    def inside(self, schema: Any, base: str) -> str:
        """The base of what stands inside of a schema with this base."""
        return self._own_base(schema, base)

    def find(self, reference: str, base: str) -> tuple[Any, str]:
        """What a `$ref` refers to, and its base. Raises `Unsupported`."""
        address, fragment = urldefrag(urljoin(base, reference) if reference.lstrip("#") else base)
        if reference.startswith("#"):
            address, fragment = base, reference[1:]
        if address not in self._resources:
            raise Unsupported(f"'{reference[:200]}' refers to something outside of the schema")
        fragment = unquote(fragment)
        if fragment and not fragment.startswith("/"):
            if (address, fragment) not in self._anchors:
                raise Unsupported(f"'{reference[:200]}' refers to nothing")
            return self._anchors[address, fragment], address
        return self._pointed(self._resources[address], address, fragment, reference)

    def _pointed(self, found: Any, base: str, pointer: str, reference: str) -> tuple[Any, str]:
        for token in pointer.split("/")[1:]:
            name = token.replace("~1", "/").replace("~0", "~")
            base = self._own_base(found, base)
            if isinstance(found, dict) and name in found:
                found = found[name]
            elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
                found = found[int(name)]
            else:
                raise Unsupported(f"'{reference[:200]}' refers to nothing")
        return found, base

    @staticmethod
    def _own_base(schema: Any, base: str) -> str:
        own = schema.get("$id") if isinstance(schema, dict) else None
        return urldefrag(urljoin(base, own))[0] if isinstance(own, str) and not own.startswith("#") else base


def _everywhere(root: Any, document: Document) -> Iterator[tuple[dict[str, Any], str]]:
    """All objects of a schema that may be schemas, with their bases."""
    waiting = [(root, _BASE)]
    while waiting:
        value, base = waiting.pop()
        if isinstance(value, dict):
            base = document.inside(value, base)
            yield value, base
            waiting += [(inner, base) for key, inner in reversed(value.items()) if key not in VALUES]
        elif isinstance(value, list):
            waiting += [(inner, base) for inner in reversed(value)]
