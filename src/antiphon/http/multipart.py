"""Reads multipart/form-data (RFC 7578) part by part, as it arrives. Files are never kept in memory.

`python-multipart` parses; here its events become parts, and what it leaves unbounded is bounded: how many parts, how
large their headers, how large what is read as text. The form is parsed in small steps and only as far as its reader has
come, so a slow reader holds back the client, and no form keeps the event loop for long.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest, PayloadTooLarge, UnsupportedMediaType
from antiphon.http.exchange import Exchange

#: RFC 2046, section 5.1.1.
_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
#: Transfer codings that change nothing. RFC 7578, section 4.7, forbids all others.
_IDENTITY = frozenset({"7bit", "8bit", "binary"})

# Its warnings quote what clients have sent.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class FormLimits:
    """What a form may have; sizes in bytes. `max_size`: of the whole body. `max_fields`: of all its text fields."""

    max_size: int = limits.MAX_UPLOAD
    max_parts: int = limits.MAX_FORM_PARTS
    max_field: int = limits.MAX_FORM_FIELD
    max_fields: int = limits.MAX_FORM_FIELDS


_DEFAULT_LIMITS = FormLimits()


def read_form(exchange: Exchange, form_limits: FormLimits = _DEFAULT_LIMITS) -> Form:
    """The request's body as a form, part by part as it arrives. Raises `UnsupportedMediaType` if it is none."""
    boundary = boundary_of(exchange.header(b"content-type") or "")
    return Form(exchange.body_stream(form_limits.max_size), boundary, form_limits)


class FormPart:
    """One part of a form. Its content can be read once, before the next part is asked for.

    `filename`: only a name, without any path, as the client has sent it; None for a field. `content_type`: as sent.
    """

    def __init__(self, form: Form, name: str, filename: str | None, content_type: str | None) -> None:
        self._form = form
        self.name = name
        self.filename = filename
        self.content_type = content_type
        self.complete = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The content in pieces. Raises `InvalidRequest` for a malformed form, and what reading the body raises."""
        while not self.complete:
            piece = await self._form.next_piece()
            if piece is None:
                self.complete = True
            else:
                yield piece

    async def text(self) -> str:
        """The whole content. Raises `InvalidRequest` unless it is UTF-8, `PayloadTooLarge` if it is too long."""
        pieces, size = [], 0
        async for piece in self:
            size += len(piece)
            self._form.count_text(self.name, size, len(piece))
            pieces.append(piece)
        try:
            return b"".join(pieces).decode()
        except UnicodeDecodeError:
            raise InvalidRequest(
                f"Invalid value for '{self.name}': it is not valid UTF-8.", code="invalid_value", param=self.name
            ) from None


class Form:
    """The parts of one form in the order in which they come."""

    def __init__(self, body: AsyncGenerator[bytes, None], boundary: bytes, form_limits: FormLimits) -> None:
        """`body`: in pieces; the caller bounds its size."""
        self._body = body
        self._limits = form_limits
        self._parser = _Parser(boundary, form_limits.max_parts)
        self._text_size = 0
        #: The newest piece of the body, and how far it is parsed.
        self._piece = b""
        self._parsed = 0

    async def __aiter__(self) -> AsyncIterator[FormPart]:
        """Each part. What its reader leaves of it is passed over. Raises `InvalidRequest` for a malformed form."""
        async with aclosing(self._body):
            while (event := await self._next_event()) is not None:
                assert isinstance(event, dict)
                part = self._part(event)
                yield part
                async for _ in part:
                    pass
            async for _ in self._body:
                pass  # what comes after the form has no meaning (RFC 2046), but the connection goes on after it

    async def next_piece(self) -> bytes | None:
        """The next piece of the current part; None at its end. For `FormPart`."""
        event = await self._next_event()
        assert event is None or isinstance(event, bytes)
        return event or None

    def count_text(self, name: str, size: int, more: int) -> None:
        """`more` bytes of a field are kept, `size` of it so far. Raises `PayloadTooLarge`. For `FormPart`."""
        self._text_size += more
        if size > self._limits.max_field:
            raise PayloadTooLarge(f"The field '{name}' is larger than {self._limits.max_field} bytes.", param=name)
        if self._text_size > self._limits.max_fields:
            raise PayloadTooLarge(f"The form's fields are larger than {self._limits.max_fields} bytes together.")

    async def _next_event(self) -> _Headers | bytes | None:
        """The next part's headers, a piece of the current part, b"" at its end, None at the form's end."""
        parser = self._parser
        while not parser.events:
            if parser.ended:
                return None
            if self._parsed < len(self._piece):
                await asyncio.sleep(0)
            else:
                self._piece, self._parsed = await anext(self._body, b""), 0
                if not self._piece:
                    raise malformed("it ends before its last boundary")
            end = self._parsed + limits.FORM_STEP
            parser.feed(self._piece[self._parsed : end])
            self._parsed = end
        return parser.events.popleft()

    def _part(self, headers: _Headers) -> FormPart:
        kind, options = parse_options_header(headers.get("content-disposition"))
        if kind != b"form-data" or b"name" not in options:
            raise malformed("a part has no Content-Disposition with the name of a field")
        if headers.get("content-transfer-encoding", "binary").lower() not in _IDENTITY:
            raise malformed("a part has a Content-Transfer-Encoding, which is not taken")
        name = _text(options[b"name"])
        if not name or len(name) > limits.MAX_FIELD_NAME or _CONTROL.search(name):
            raise malformed("the name of a field is empty, too long, or holds control characters")
        filename = _text(options[b"filename"]) if b"filename" in options else None
        if filename is not None:
            # Some clients send a whole path. It must never be used as one.
            filename = re.split(r"[/\\]", filename)[-1]
            if len(filename) > limits.MAX_FILE_NAME or _CONTROL.search(filename):
                raise malformed("the name of a file is too long, or holds control characters")
        return FormPart(self, name, filename, headers.get("content-type"))


_Headers = dict[str, str]


class _Parser:
    """Turns bytes into events: the headers of a part, pieces of it, b"" at its end."""

    def __init__(self, boundary: bytes, max_parts: int) -> None:
        self.events: deque[_Headers | bytes] = deque()
        #: Whether the last boundary has come.
        self.ended = False
        self._max_parts = max_parts
        self._parts = 0
        self._headers: _Headers = {}
        self._header_bytes = 0
        self._name = b""
        self._value = b""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begins,
                "on_header_begin": self._header_begins,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_ends,
                "on_headers_finished": self._headers_end,
                "on_part_data": self._part_data,
                "on_part_end": self._part_ends,
                "on_end": self._form_ends,
            },
            # Ours come first, and say what is wrong.
            max_header_count=limits.MAX_FORM_HEADERS + 1,
            max_header_size=limits.MAX_FORM_HEADER_BYTES + 2 * limits.FORM_STEP,
        )

    def feed(self, data: bytes) -> None:
        """Parse a few bytes more. Raises `InvalidRequest`."""
        try:
            self._parser.write(data)
        except FormParserError:
            raise malformed("its boundaries or the headers of a part are not as they should be") from None

    def _part_begins(self) -> None:
        self._parts += 1
        if self._parts > self._max_parts:
            raise InvalidRequest(f"The form has more than {self._max_parts} parts.", code="too_many_form_parts")
        self._headers, self._header_bytes = {}, 0

    def _header_begins(self) -> None:
        self._name = self._value = b""
        if len(self._headers) >= limits.MAX_FORM_HEADERS:
            raise _headers_too_large()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._value += data[start:end]

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > limits.MAX_FORM_HEADER_BYTES:
            raise _headers_too_large()

    def _header_ends(self) -> None:
        name = self._name.decode("latin-1").lower()
        if name in self._headers:
            raise malformed("a part has a header twice")
        self._headers[name] = self._value.strip().decode("latin-1")

    def _headers_end(self) -> None:
        self.events.append(self._headers)

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self.events.append(data[start:end])

    def _part_ends(self) -> None:
        self.events.append(b"")

    def _form_ends(self) -> None:
        self.ended = True


def boundary_of(content_type: str) -> bytes:
    """The boundary that a form's Content-Type names. Raises `UnsupportedMediaType`, or `InvalidRequest` without one."""
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        shown = kind.decode("latin-1")[:100]
        raise UnsupportedMediaType(f"Unsupported content type: '{shown}'. This endpoint takes 'multipart/form-data'.")
    boundary = options.get(b"boundary", b"")
    if not _BOUNDARY.fullmatch(boundary):
        raise malformed("its Content-Type has no valid boundary (RFC 2046: 1 to 70 characters)")
    return boundary


def malformed(reason: str) -> InvalidRequest:
    """What refuses a form."""
    return InvalidRequest(f"We could not parse the multipart form of your request: {reason}.", code="invalid_form")


def _headers_too_large() -> InvalidRequest:
    return InvalidRequest(
        f"The headers of a part of the form are more than {limits.MAX_FORM_HEADERS}, or larger than "
        f"{limits.MAX_FORM_HEADER_BYTES} bytes.",
        code="form_headers_too_large",
    )


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise malformed("the name of a field or of a file is not valid UTF-8") from None
