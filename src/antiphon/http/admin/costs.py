"""/v1/organization/costs: what was spent by day, exactly."""

from __future__ import annotations

from typing import Any

import msgspec

from antiphon.domain import amounts, money
from antiphon.domain.ledger import Sum
from antiphon.http.admin.buckets import asked, reply_page, span_of
from antiphon.http.exchange import Exchange
from antiphon.http.query import Query
from antiphon.http.resource import Resource
from antiphon.ports import Clock, LedgerStore

_PARAMETERS = ("start_time", "end_time", "bucket_width", "limit", "page", "group_by", "project_ids", "api_key_ids")
_GROUPS = ("project_id", "line_item", "api_key_id", "user_id")
#: Days of a page: 7 unless asked, 180 at the most (published documentation).
_WIDTHS = {"1d": (86_400, 7, 180)}
#: Calls of the page whose price is not known: they are in none of its amounts.
_UNKNOWN = b"x-antiphon-unknown-cost-requests"


def resources(store: LedgerStore, clock: Clock) -> list[Resource]:
    """The path of costs."""

    async def costs(exchange: Exchange) -> None:
        query = Query(exchange, _PARAMETERS)
        span = span_of(query, clock.now(), _WIDTHS)
        sums = await store.usage(asked(query, span, _GROUPS, served=True))
        by_item = "line_item" in query.texts("group_by")
        unknown = sum(one.unknown for one in sums)
        await reply_page(
            exchange, span, sums, lambda one: _cost(one, by_item=by_item), [(_UNKNOWN, str(unknown).encode())]
        )

    return [Resource("/v1/organization/costs", {"GET": costs}, access="admin")]


def _cost(one: Sum, *, by_item: bool) -> dict[str, Any]:
    """Schema `CostsResult`. The amount is a JSON number with every digit that it has. A line item is a model."""
    return {
        "object": "organization.costs.result",
        "amount": {"value": msgspec.Raw(money.to_dollars(one.cost).encode()), "currency": "usd"},
        "line_item": one.group.get("model"),
        "project_id": one.group.get("project_id"),
        "api_key_id": one.group.get("key_id"),
        "user_id": one.group.get("user_id"),
        "quantity": amounts.total(one.input_tokens + one.output_tokens) if by_item else None,
        "quantity_unit": "tokens" if by_item else None,
    }
