"""Sends a file, or the part of it that was asked for, by the rules of RFC 9110.

* Conditional requests (section 13): the preconditions are looked at in the order of section 13.2.2.
* Ranges (section 14): one range of bytes is answered with 206, one that lies outside of the file with 416. A server may
  ignore a Range header; so does this one with several ranges, with malformed ones, and with units other than bytes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from urllib.parse import quote

from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError
from antiphon.http.disconnect import ClientGone
from antiphon.http.exchange import Exchange, Header

_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,19})\s*-\s*(\d{0,19})\s*", re.ASCII)
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')


class RangeNotSatisfiable(AntiphonError):
    """The range that was asked for lies outside of the file (416)."""

    status = 416
    type = "invalid_request_error"
    code = "range_not_satisfiable"

    def __init__(self, size: int) -> None:
        """`size`: of the file, in bytes."""
        super().__init__(f"The range that was asked for lies outside of the file, which has {size} bytes.")
        self.size = size


class PreconditionFailed(AntiphonError):
    """The file is not, or not any more, what the request says it must be (412)."""

    status = 412
    type = "invalid_request_error"
    code = "precondition_failed"


@dataclass(frozen=True, slots=True)
class File:
    """What can be sent.

    `read(start, end)`: the bytes from `start` up to but without `end`, in pieces. `etag`: without quotes; it changes
    whenever a byte does. `modified_at`: Unix seconds. `name`: what a browser saves it as; None: it may show it.
    """

    size: int
    etag: str
    modified_at: int
    content_type: str
    read: Callable[[int, int], AsyncGenerator[bytes, None]]
    name: str | None = None


async def send_file(exchange: Exchange, file: File) -> None:
    """Answer a GET or HEAD with a file. Raises `PreconditionFailed` and `RangeNotSatisfiable`."""
    etag = f'"{file.etag}"'
    validators = [(b"etag", etag.encode()), (b"last-modified", formatdate(file.modified_at, usegmt=True).encode())]
    _check_preconditions(exchange, file, etag)
    if _not_modified(exchange, file, etag):
        await exchange.reply_empty(304, validators)
        return
    start, end, status = 0, file.size, 200
    wanted = _wanted_range(exchange, file, etag)
    if wanted is not None:
        if wanted[0] >= wanted[1]:
            raise RangeNotSatisfiable(file.size)
        (start, end), status = wanted, 206
    headers: list[Header] = [
        (b"content-type", file.content_type.encode()),
        (b"content-length", b"%d" % (end - start)),
        (b"accept-ranges", b"bytes"),
        # What a user has uploaded is never run as a page of this server.
        (b"x-content-type-options", b"nosniff"),
        (b"content-security-policy", b"sandbox; default-src 'none'"),
        (b"cache-control", b"private, no-cache"),
        *validators,
    ]
    if status == 206:
        headers.append((b"content-range", b"bytes %d-%d/%d" % (start, end - 1, file.size)))
    if file.name is not None:
        headers.append((b"content-disposition", f"attachment; filename*=UTF-8''{quote(file.name, safe='')}".encode()))
    if exchange.method == "HEAD" or start == end:
        await exchange.reply_empty(status, headers)
        return
    await exchange.unless_gone(_send_content(exchange, file, start, end, status, headers))


async def _send_content(
    exchange: Exchange, file: File, start: int, end: int, status: int, headers: list[Header]
) -> None:
    left = end - start
    async with aclosing(file.read(start, end)) as pieces:
        # The first piece is read before anything is sent: what cannot be read at all is still an HTTP error.
        piece = await anext(pieces, b"")
        await exchange.start(status, headers)
        while piece:
            left -= len(piece)
            if left < 0:
                break
            await _send_piece(exchange, piece, more=left > 0)
            piece = await anext(pieces, b"")
    if left:
        raise RuntimeError("a file is not as long as it was said to be")


async def _send_piece(exchange: Exchange, piece: bytes, *, more: bool) -> None:
    try:
        async with asyncio.timeout(limits.SEND_TIMEOUT):
            await exchange.send_body(piece, more=more)
    except TimeoutError:
        raise ClientGone from None


# --- conditions -------------------------------------------------------------------------------------------------------
def _check_preconditions(exchange: Exchange, file: File, etag: str) -> None:
    """If-Match and If-Unmodified-Since (13.1.1, 13.1.4). Raises `PreconditionFailed`."""
    match = exchange.header(b"if-match")
    if match is not None:
        # Compared strongly: a weak validator matches nothing.
        failed = match.strip() != "*" and etag not in _ETAG.findall(match)
    else:
        since = _date(exchange.header(b"if-unmodified-since"))
        failed = since is not None and file.modified_at > since
    if failed:
        raise PreconditionFailed("The file is not the one that the request's precondition names.")


def _not_modified(exchange: Exchange, file: File, etag: str) -> bool:
    """If-None-Match and If-Modified-Since (13.1.2, 13.1.3)."""
    match = exchange.header(b"if-none-match")
    if match is not None:
        return match.strip() == "*" or etag in [known.removeprefix("W/") for known in _ETAG.findall(match)]
    since = _date(exchange.header(b"if-modified-since"))
    return since is not None and file.modified_at <= since


def _wanted_range(exchange: Exchange, file: File, etag: str) -> tuple[int, int] | None:
    """The first byte that is wanted, and the one after the last; None for the whole file.

    What the file cannot satisfy has no bytes: its first is not before its end.
    """
    value = exchange.header(b"range")
    if value is None or exchange.method != "GET" or not _range_applies(exchange, file, etag):
        return None
    match = _RANGE.fullmatch(value)
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        return max(0, file.size - int(match[2])), file.size
    first = int(match[1])
    if match[2] and int(match[2]) < first:
        return None  # invalid (14.1.1), and so ignored
    return first, min(int(match[2]) + 1, file.size) if match[2] else file.size


def _range_applies(exchange: Exchange, file: File, etag: str) -> bool:
    """If-Range (13.1.5): the range is meant only for the file that the client has a part of."""
    value = exchange.header(b"if-range")
    if value is None:
        return True
    if '"' in value:
        return value.strip() == etag
    return _date(value) == file.modified_at


def _date(value: str | None) -> int | None:
    """An HTTP date as Unix seconds; None for one that is malformed, which is ignored (13.1.3, 13.1.4)."""
    if value is None:
        return None
    try:
        return int(parsedate_to_datetime(value).timestamp())
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
