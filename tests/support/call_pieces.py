"""Two calls, said in all the ways in which servers say them: `get_weather` for Oslo, then for Rome."""

from __future__ import annotations

from typing import Any

from support.upstreams import Json

OSLO, ROME = '{"city":"Oslo"}', '{"city":"Rome"}'


def piece(arguments: Any = None, name: str | None = None, **more: Any) -> Json:
    return {"function": {"name": name, "arguments": arguments}, **more}


#: Each is a list of pieces, which may come one by one.
WAYS: list[list[Json]] = [
    [piece(OSLO, "get_weather", id="a", type="function"), piece(ROME, "get_weather", id="b", type="function")],
    [piece(OSLO, "get_weather", index=1, id="a"), piece(ROME, "get_weather", index=2, id="b")],
    [piece(OSLO, "get_weather", index=0), piece(ROME, "get_weather", index=0)],
    [piece(OSLO, "get_weather", index=0, id="a"), piece(ROME, "get_weather", index=0, id="a")],
    [piece(OSLO, "get_weather"), piece(ROME, "get_weather")],
    [piece(OSLO, "get_weather", index="0", id="a"), piece(ROME, "get_weather", index="1", id="b")],
    [piece(OSLO, "get_weather", index=0.0, id=1), piece(ROME, "get_weather", index=1.0, id=2)],
    [piece(OSLO, "get_weather", index=-1), piece(ROME, "get_weather", index=10**30)],
    [piece({"city": "Oslo"}, "get_weather", index=0), piece({"city": "Rome"}, "get_weather", index=1)],
    [
        *(piece('{"city":', "get_weather", id=name) for name in "ab"),
        *(piece(f'"{city}"}}', id=name) for name, city in (("a", "Oslo"), ("b", "Rome"))),
    ],
    [
        piece("", "get_weather", index=0, id="a"),
        piece("", "get_weather", index=1, id="b"),
        piece(ROME, index=1),
        piece(OSLO, index=0),
    ],
    [
        piece('{"city":', "get_weather", index=0, id="a"),
        piece('"Oslo"}', "get_weather", index=0, id="a"),
        piece(ROME, "get_weather", index=0, id="b"),
    ],
    [
        piece('{"city":', "get_weather", index=0, id="a"),
        piece('"Oslo"}', index=0, id="z"),
        piece(ROME, "get_weather", index=1, id="b"),
    ],
    [
        piece("", "get_", index=0, id="a"),
        piece("", "weather", index=0),
        piece(OSLO, index=0),
        piece(ROME, "get_weather", index=1),
    ],
    [
        piece(None, "get_", index=0),
        piece(None, "get_weather", index=0),
        piece(OSLO, index=0),
        piece(ROME, "get_weather", index=1),
    ],
    [piece(OSLO, None, index=0), piece(None, "get_weather", index=0), piece(ROME, "get_weather", index=1)],
    [piece('{"city":', "get_weather", index=0, id="a"), piece('"Oslo"}', index=5), piece(ROME, "get_weather", index=1)],
    [
        piece(OSLO, "get_weather", index=0, id="a"),
        piece(OSLO, "get_weather", index=0, id="a"),
        piece(ROME, "get_weather", index=1, id="b"),
    ],
]
