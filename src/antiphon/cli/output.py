"""What commands print: tables, and the progress of a download. Plain text unless a person is watching."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TextIO

import typer

from antiphon.domain.sizes import megabytes

_BAR = 24
#: Seconds between two paints of the bar.
_PAINT_EVERY = 0.1
#: Seconds after which a log gets a line, however little has come: silence would look like a hang.
_LOG_EVERY = 10.0


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under a head, in columns."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def moment(unix: int | None) -> str:
    """Unix seconds as `2026-01-31 12:00` (UTC); `-` for None."""
    return "-" if unix is None else time.strftime("%Y-%m-%d %H:%M", time.gmtime(unix))


class DownloadProgress:
    """The progress of one download: a bar on a terminal; in a log, a line for each tenth and every ten seconds."""

    def __init__(self, label: str, stream: TextIO | None = None) -> None:
        """`label` stands before the bar. Prints to stderr unless told otherwise."""
        self._label = label
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._first: tuple[float, int] | None = None
        self._painted = 0.0
        self._tenth = -1
        self._logged = 0.0
        self._open = False

    def update(self, done: int, total: int) -> None:
        """`done` of `total` bytes are here."""
        now = time.monotonic()
        if self._first is None:
            self._first = (now, done)
        if not self._live:
            self._log(now, done, total)
        elif now - self._painted >= _PAINT_EVERY or done >= total:
            self._painted, self._open = now, True
            self._stream.write(f"\r\x1b[K{self._line(now, done, total)}")
            self._stream.flush()

    def note(self, text: str) -> None:
        """Print a line of its own."""
        self.close()
        self._stream.write(f"{self._label}: {text}\n")
        self._stream.flush()

    def close(self) -> None:
        """End the bar's line, if there is one."""
        if self._open:
            self._stream.write("\n")
            self._open = False

    def _log(self, now: float, done: int, total: int) -> None:
        tenth = done * 10 // max(1, total)
        if tenth > self._tenth or now - self._logged >= _LOG_EVERY:
            self._tenth, self._logged = tenth, now
            self._stream.write(f"{self._label}: {done * 100 // max(1, total)} % of {self._so_far(now, done, total)}\n")
            self._stream.flush()

    def _so_far(self, now: float, done: int, total: int) -> str:
        """The whole size, how fast it comes, and how long it will still take."""
        assert self._first is not None
        began, had = self._first
        rate = (done - had) / (now - began) if now > began else 0.0
        left = f", {(total - done) / rate:.0f} s left" if rate > 0 and done < total else ""
        return f"{megabytes(total)}, {rate / 1e6:.1f} MB/s{left}"

    def _line(self, now: float, done: int, total: int) -> str:
        full = done * _BAR // max(1, total)
        bar = "█" * full + "░" * (_BAR - full)
        return f"{self._label} {bar} {done / 1e6:.0f} of {self._so_far(now, done, total)}"
