"""Valid requests made wrong: at every path, in every way that JSON has."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

Path = tuple[str | int, ...]


class Raw:
    """JSON text put into a body as it stands, for what Python would not write."""

    def __init__(self, text: str) -> None:
        self.text = text


#: Values that every member is replaced by: each JSON type, and what often breaks programs.
COMMON: list[Any] = [
    None, True, False, 0, -1, 1, 2.0, 1.5, 10**30, "", "a", "\x00", [], {}, [None], [[]], [{}], {"a": 1},
    {"type": None}, {"type": "function"}, {"type": "newer"},
]  # fmt: skip
#: Values that are costly or strange: members get these in turn.
RARE: list[Any] = [
    -1.0, 1e308, -1e308, 5e-324, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**400,
    "\x1b[31m\r\n\x7f", "\u202e\ufeff\uffff", "😀" * 40, "a" * 20_000, "%s%n{0}{{}}$(id)`id`", "../../etc/passwd",
    "' OR 1=1 --", "null", "NaN", "1e999", "data:image/png;base64,AAAA", "http://169.254.169.254/",
    ["a"] * 300, [1, "a", None, {}], {"": ""}, {"\x00": "\x00"}, {"__proto__": {"a": 1}, "__class__": "a"},
    {str(number): "v" for number in range(40)}, {"$ref": "#"}, {"type": "object", "properties": {"a": {"$ref": "#"}}},
    Raw("[" * 60 + "]" * 60), Raw('{"a":' * 60 + "1" + "}" * 60), Raw("-0"), Raw("1E+2"), Raw("0.1e1"),
    Raw("1" + "0" * 5000), Raw("1e999"), Raw('"\\ud83d\\ude00"'), Raw('{"a":1,"a":2}'),
]  # fmt: skip
#: Text that is no JSON, put where a value should be.
MALFORMED = [
    "NaN", "Infinity", "-Infinity", "undefined", "'a'", "01", "+1", ".5", "1.", "0x10", "1_000", "nul", "True", "",
    '"\\ud800"', '"\\udc00\\ud800"', '"\\x41"', '"\\u12"', '"\t"', '"\n"', '"\x00"', '"a', "[1,]", '{"a":1,}',
    "{a:1}", '{"a"}', "[1 2]", "/**/1", "1//", "[" * 200 + "]" * 200, '{"a":' * 200 + "1" + "}" * 200, "[" * 100_000,
]  # fmt: skip


def paths(value: Any, at: Path = ()) -> Iterator[Path]:
    """The path of every member of a value, from the outside to the inside."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*at, key)
        yield from paths(item, (*at, key))


def replaced(body: Any, path: Path, value: Any) -> Any:
    """A copy of `body` with another value at `path`."""
    return _changed(body, path, lambda holder, key: holder.__setitem__(key, value))


def removed(body: Any, path: Path) -> Any:
    """A copy of `body` without the member at `path`."""
    return _changed(body, path, lambda holder, key: holder.__delitem__(key))


def added(body: Any, path: Path, value: Any) -> Any:
    """A copy of `body` with an unknown member next to the one at `path` (in an array, the same one again)."""

    def change(holder: Any, key: Any) -> None:
        if isinstance(holder, list):
            holder.append(holder[key])
        else:
            holder["unknown_" + key] = value

    return _changed(body, path, change)


def text(body: Any) -> bytes:
    """A body as JSON, with every `Raw` as it stands."""
    raws: list[str] = []

    def mark(value: Any) -> str:
        raws.append(value.text)
        return f"@raw{len(raws) - 1}@"

    made = json.dumps(body, default=mark)
    for number, raw in enumerate(raws):
        made = made.replace(f'"@raw{number}@"', raw)
    return made.encode()


def all_of(body: Any, *, every: int = 1) -> Iterator[tuple[str, bytes]]:
    """(what was done, body) for every mutation. `every`: each path gets every second (third, ...) value only."""
    for number, path in enumerate(paths(body)):
        where = "/".join(map(str, path))
        yield f"{where} removed", text(removed(body, path))
        yield f"{where} doubled", text(added(body, path, "x"))
        values = [*COMMON[number % every :: every], *_rare(body, path, number)]
        for value in values:
            shown = value.text if isinstance(value, Raw) else str(value)[:40]
            yield f"{where} = {shown[:40]}", text(replaced(body, path, value))


def _rare(body: Any, path: Path, number: int) -> list[Any]:
    """All strange numbers for a number; for anything else a few of the strange values in turn."""
    for key in path:
        body = body[key]
    if isinstance(body, int | float) and not isinstance(body, bool):
        return [value for value in RARE if isinstance(value, int | float | Raw)]
    return [RARE[number % len(RARE)], RARE[(number * 7 + 3) % len(RARE)], RARE[(number * 11 + 5) % len(RARE)]]


def _changed(body: Any, path: Path, change: Any) -> Any:
    body = copy.deepcopy(body)
    holder = body
    for key in path[:-1]:
        holder = holder[key]
    change(holder, path[-1])
    return body
