"""What the endpoints for usage and costs share: their query, and pages of buckets of time."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from antiphon.domain.errors import InvalidRequest
from antiphon.domain.ledger import Asked, Dimension, Sum
from antiphon.http.exchange import Exchange
from antiphon.http.query import Query, check_choice
from antiphon.protocol.refusals import missing_parameter
from antiphon.wire import json as wire_json

#: Buckets of a page by their width: seconds, how many unless asked, and at the most (published documentation).
WIDTHS = {"1m": (60, 60, 1440), "1h": (3600, 24, 168), "1d": (86_400, 7, 31)}
#: The year 5138: whatever is later was meant to be milliseconds.
_LAST_TIME = 10**11
_PAGE = "page_"
#: Our columns for the names that clients group by.
_DIMENSIONS: Mapping[str, Dimension] = {
    "project_id": "project_id",
    "user_id": "user_id",
    "api_key_id": "key_id",
    "model": "model",
    "line_item": "model",
    "batch": "batch",
    "service_tier": "service_tier",
}


@dataclass(frozen=True, slots=True)
class Span:
    """A page: `count` buckets of `width` seconds from `first` on, cut off at `start` and `end` (Unix seconds)."""

    start: int
    end: int
    width: int
    first: int
    count: int

    def buckets(self) -> list[tuple[int, int]]:
        """Beginning and end of each bucket. They begin at whole minutes, hours and days (UTC), but for the first."""
        edges = range(self.first, min(self.end, self.first + self.count * self.width), self.width)
        return [(max(self.start, edge), min(self.end, edge + self.width)) for edge in edges]

    @property
    def next_page(self) -> str | None:
        """Where the next page begins; None if this is the last."""
        following = self.first + self.count * self.width
        if following >= self.end:
            return None
        return _PAGE + base64.urlsafe_b64encode(str(following).encode()).decode()


def span_of(query: Query, now: float, widths: Mapping[str, tuple[int, int, int]] = WIDTHS) -> Span:
    """The page that is asked for. Raises `InvalidRequest`."""
    start = integer(query, "start_time", 0, _LAST_TIME)
    if start is None:
        raise missing_parameter("start_time")
    end = integer(query, "end_time", 0, _LAST_TIME)
    end = max(int(now) + 1, start + 1) if end is None else end
    if end <= start:
        raise InvalidRequest("'end_time' must be after 'start_time'.", code="invalid_value", param="end_time")
    width, usual, most = widths[query.choice("bucket_width", tuple(widths), "1d")]
    count = integer(query, "limit", 1, most)
    first = start // width * width
    page = query.text("page")
    if page is not None:
        first = _place(page)
        if first % width or not start <= first < end:
            raise _no_page()
    return Span(start, end, width, first, usual if count is None else count)


def _place(page: str) -> int:
    try:
        place = int(base64.urlsafe_b64decode(page.removeprefix(_PAGE).encode("ascii"))[:12])
    except (ValueError, binascii.Error):
        raise _no_page() from None
    return place


def _no_page() -> InvalidRequest:
    return InvalidRequest("'page' is not a page of this query.", code="invalid_value", param="page")


def integer(query: Query, name: str, least: int, most: int) -> int | None:
    """A whole number from `least` to `most`, if it is there. Raises `InvalidRequest`."""
    text = query.text(name)
    if text is None:
        return None
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 16):
        raise InvalidRequest(
            f"Invalid type for '{name}': expected an integer, but got a string instead.",
            code="invalid_type",
            param=name,
        )
    value = int(text)
    if not least <= value <= most:
        below = value < least
        raise InvalidRequest(
            f"Invalid '{name}': expected a value from {least} to {most}, but got {value} instead.",
            code="integer_below_min_value" if below else "integer_above_max_value",
            param=name,
        )
    return value


def asked(query: Query, span: Span, group_by: Sequence[str], *, served: bool) -> Asked:
    """What the ledger is to add up for this page. Raises `InvalidRequest` for a group that there is not."""
    groups = list(dict.fromkeys(query.texts("group_by")))
    for name in groups:
        check_choice("group_by", name, group_by)
    buckets = span.buckets()
    batch = query.text("batch")
    if batch is not None:
        check_choice("batch", batch, ("true", "false"))
    return Asked(
        start=buckets[0][0],
        end=buckets[-1][1],
        width=span.width,
        group_by=cast("tuple[Dimension, ...]", tuple(_DIMENSIONS[name] for name in groups)),
        projects=query.texts("project_ids"),
        users=query.texts("user_ids"),
        keys=query.texts("api_key_ids"),
        models=query.texts("models"),
        batch=None if batch is None else batch == "true",
        served=served,
    )


async def reply_page(
    exchange: Exchange,
    span: Span,
    sums: Sequence[Sum],
    shown: Callable[[Sum], dict[str, Any]],
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    """Answer with a page of buckets (schema `UsageResponse`)."""
    found: dict[int, list[dict[str, Any]]] = {}
    for one in sums:
        found.setdefault(one.bucket, []).append(shown(one))
    data = [
        {
            "object": "bucket",
            "start_time": start,
            "end_time": end,
            "results": found.get(start // span.width * span.width, []),
        }
        for start, end in span.buckets()
    ]
    body = {"object": "page", "data": data, "has_more": span.next_page is not None, "next_page": span.next_page}
    await exchange.reply(200, wire_json.encode(body), headers)
