"""List objects."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.wire import json as wire_json


def page_body(items: Sequence[tuple[str, bytes]], *, has_more: bool) -> bytes:
    """A page as JSON: `items` are (id, JSON) in order. The stored JSON goes in as it is, without being decoded."""
    first = wire_json.encode(items[0][0] if items else None)
    last = wire_json.encode(items[-1][0] if items else None)
    return b'{"object":"list","data":[%b],"first_id":%b,"last_id":%b,"has_more":%b}' % (
        b",".join([body for _, body in items]),
        first,
        last,
        b"true" if has_more else b"false",
    )
