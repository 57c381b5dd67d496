"""`antiphon top`: what a running server is doing, again every second."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from antiphon.cli.env import base_url
from antiphon.cli.options import with_settings
from antiphon.domain.errors import SetupError
from antiphon.settings import Loaded

#: Rates and percentiles are over the last so many seconds.
_WINDOW = 10.0
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _END_OF_LINE, _REST = "\x1b[H", "\x1b[K", "\x1b[J"
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"


@with_settings("data_dir", "host", "port")
def top(
    loaded: Loaded,
    url: Annotated[
        str | None, typer.Option(help="A server elsewhere, such as http://host:8000.", show_default=False)
    ] = None,
    interval: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.1, max=3600)] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look for one interval, print, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each look.")] = False,
) -> None:
    """Watch a running server: rates, latencies, tokens, cost, by model, target and key.

    Figures are over the last ten seconds. A server that asks for an admin key gets the one in OPENAI_ADMIN_KEY.
    """
    if url is not None and not url.startswith(("http://", "https://")):
        raise SetupError(f"--url must begin with http:// or https://; it says {url}.")
    where = f"{url.rstrip('/').removesuffix('/v1')}/metrics" if url else _found(loaded)
    frames = _frames(where, interval)
    if once or as_json or not sys.stdout.isatty():
        for shown in frames:
            typer.echo(json.dumps(shown) if as_json else "\n".join(lines(where, shown)))
            if once:
                return
            sys.stdout.flush()
    else:
        _live(where, frames)


def _found(loaded: Loaded) -> str:
    """The metrics of the server that runs on this data directory, or where the settings say that one is."""
    from antiphon.datadir import DataDir  # here, because `--help` does not need it

    settings = loaded.settings
    told = loaded.sources["port"].startswith("flag") or loaded.sources["host"].startswith("flag")
    server = None if told else DataDir(settings.data_dir, create=False).running()
    host, port = (server.host, server.port) if server else (settings.host, settings.port)
    if port == 0:
        raise SetupError("The server takes any free port (port = 0), and it is not running.")
    return f"{base_url(host, port).removesuffix('/v1')}/metrics"


def _frames(url: str, interval: float) -> Iterator[dict[str, Any]]:
    """What is to be shown, every `interval` seconds. Raises `SetupError` if the server is not there at first."""
    from antiphon.cli import live

    key = os.environ.get("OPENAI_ADMIN_KEY")
    seen = deque([live.read(url, key)])
    while True:
        time.sleep(interval)
        try:
            seen.append(live.read(url, key))
        except SetupError as error:
            yield {"error": error.message}
            continue
        while len(seen) > 2 and seen[-1].at - seen[1].at >= _WINDOW:
            seen.popleft()
        yield live.frame(live.Span(seen[0], seen[-1]))


def _live(url: str, frames: Iterator[dict[str, Any]]) -> None:
    """Paint each look over the last one, as large as the terminal is then."""
    first = next(frames)
    sys.stdout.write(_ENTER)
    try:
        while True:
            size = shutil.get_terminal_size()
            painted = [line[: size.columns] for line in lines(url, first, most=size.lines)][: size.lines]
            text = (f"{_END_OF_LINE}\n").join(_bold(line) for line in painted)
            sys.stdout.write(f"{_HOME}{text}{_END_OF_LINE}{_REST}")
            sys.stdout.flush()
            first = next(frames)
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()


def _bold(line: str) -> str:
    """Heads of tables stand out."""
    return f"{_BOLD}{line}{_PLAIN}" if line.isupper() else line


def lines(url: str, frame: dict[str, Any], *, most: int = 60) -> list[str]:
    """A look as text: the server, then tables of models, targets and keys, as many rows as fit into `most` lines."""
    if "error" in frame:
        return [frame["error"]]
    tables = [_models(frame["models"]), _targets(frame["targets"]), _keys(frame["keys"])]
    head = _head(url, frame)
    room = max(2, (most - len(head)) // len(tables) - 2)
    for table in tables:
        head += ["", *table[: room + 1]]
    return head


def _head(url: str, frame: dict[str, Any]) -> list[str]:
    first, total = frame["first_token_ms"], frame["total_ms"]
    tokens = f"{frame['input_tokens_per_second']:.0f}/s in {frame['output_tokens_per_second']:.0f}/s out"
    rows = [
        {
            url.removesuffix("/metrics"): "",
            "up": _duration(frame["uptime_seconds"]),
            "cpu": f"{frame['cpu']:.0%}",
            "memory": f"{frame['memory_mb']:.0f} MB",
            "loop late p99": _ms(frame["loop_lag_ms"]["p99"]),
        },
        {
            "requests": f"{frame['requests_per_second']:.1f}/s",
            "errors": f"{frame['errors_per_second']:.1f}/s",
            "in flight": frame["in_flight"],
            "generating": frame["generating"],
            "engine queue": "-" if frame["engine_queue"] is None else frame["engine_queue"],
            "writes waiting": frame["store_writes_waiting"],
        },
        {
            "first token": f"p50 {_ms(first['p50'])} p99 {_ms(first['p99'])}",
            "total": f"p50 {_ms(total['p50'])} p99 {_ms(total['p99'])}",
            "tokens": tokens,
            "cost": _usd(frame["cost_usd_per_minute"]),
        },
        {"cache": _pairs(frame["cache"]), "errors": _pairs(frame["errors"])},
    ]
    return ["   ".join(f"{name} {value}".rstrip() for name, value in row.items()) for row in rows]


def _models(rows: Sequence[dict[str, Any]]) -> list[str]:
    head = ("MODEL", "CALLS", "/S", "TOKENS/S", "FIRST P50", "P99", "TOTAL P50", "P99", "COST")
    return _columns(
        head,
        [
            (
                row["name"],
                str(row["calls"]),
                f"{row['per_second']:.1f}",
                f"{row['output_tokens_per_second']:.0f}",
                *_both(row["first_token_ms"]),
                *_both(row["total_ms"]),
                _usd(row["cost_usd_per_minute"]),
            )
            for row in rows
        ],
    )


def _targets(rows: Sequence[dict[str, Any]]) -> list[str]:
    head = ("TARGET", "CALLS", "/S", "FAILED/S", "FALLBACKS/S", "FIRST P50", "P99", "OUTSTANDING", "BREAKER")
    return _columns(
        head,
        [
            (
                row["name"],
                str(row["calls"]),
                f"{row['per_second']:.1f}",
                f"{row['failed_per_second']:.1f}",
                f"{row['fallbacks_per_second']:.1f}",
                *_both(row["first_token_ms"]),
                str(row["outstanding"]),
                row["breaker"] or "-",
            )
            for row in rows
        ],
    )


def _keys(rows: Sequence[dict[str, Any]]) -> list[str]:
    head = ("KEY", "CALLS", "/S", "ERRORS/S", "TOKENS/S", "COST")
    return _columns(
        head,
        [
            (
                _short(row["name"]),
                str(row["calls"]),
                f"{row['per_second']:.1f}",
                f"{row['errors_per_second']:.1f}",
                f"{row['tokens_per_second']:.0f}",
                _usd(row["cost_usd_per_minute"]),
            )
            for row in rows
        ],
    )


def _columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table: names to the left, figures to the right."""
    cells = [head, *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]


def _short(name: str) -> str:
    """An id by its ends: those are what differs."""
    return name if len(name) <= 24 else f"{name[:10]}…{name[-8:]}"


def _both(figures: dict[str, float | None]) -> tuple[str, str]:
    return _ms(figures["p50"]), _ms(figures["p99"])


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value / 1000:.1f} s" if value >= 10_000 else f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"


def _usd(value: float | None) -> str:
    return "-" if value is None else f"${value:.4f}/min"


def _pairs(rates: dict[str, float]) -> str:
    shown = [f"{name} {rate:.1f}/s" for name, rate in rates.items() if rate]
    return ", ".join(shown) or "-"


def _duration(seconds: int) -> str:
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{days}d {hours}h" if days else f"{hours}h {minutes}m" if hours else f"{minutes}m {rest}s"
