"""An upstream that takes money: it does what a request's fields ask for, in many servers' words, and bills it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep, time
from typing import Any

import pytest

from antiphon.domain import limits
from antiphon.domain.budgets import Budget
from support.inside import in_store
from support.serving import Serving, serving
from support.upstream_of import tables
from support.upstreams import ChatUpstream, Says, chat_upstream

#: US dollars for a million tokens; nano-dollars for one of output.
PRICE = {"input": "0", "output": "10"}
TOKEN = 10_000
#: What it says where nothing limits it.
ENDLESS = 20_000

Json = dict[str, Any]


class Till:
    """What the upstream has made, in tokens: as long as the longest field says, as often as the fields say."""

    def __init__(self) -> None:
        self.sold = 0
        self._lock = threading.Lock()

    def sell(self, body: Json) -> Says:
        """Answer a request, and bill it."""
        own = [body.get(name) for name in ("max_tokens", "max_completion_tokens", "max_output_tokens")]
        options = body.get("options") or {}
        more = [body.get(name) for name in ("num_predict", "max_new_tokens", "max_length", "min_tokens")]
        lengths = [int(value) for value in (*own, *more, options.get("num_predict")) if value is not None]
        times = max(int(body.get(name) or 1) for name in ("n", "best_of", "num_return_sequences"))
        tokens = times * (max(lengths) if lengths else ENDLESS)
        with self._lock:
            self.sold += tokens
        usage = {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1}
        choice = {"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}
        whole = {"id": "chatcmpl-up", "object": "chat.completion", "choices": [choice], "usage": usage}
        # All of a hundred calls are under way before the first is settled.
        return Says([0.05, json.dumps(whole).encode()])


@contextmanager
def shop(
    path: Path, *, kind: str = "chat", price: Json | None = None, **more: Any
) -> Iterator[tuple[Serving, ChatUpstream, Till]]:
    """A server with the priced route "r" to it."""
    till = Till()
    with pytest.MonkeyPatch.context() as patch, chat_upstream(till.sell) as upstream:
        patch.setattr(limits, "BUDGET_CACHE_TTL", 0.05)
        target = {"upstream": "up", "model": "m", "price": price or PRICE}
        routes = {"r": {"targets": [target], "retries": 0}, **more.pop("routes", {})}
        upstreams = {"up": {"kind": kind, "url": upstream.url, "profile": more.pop("profile", "generic")}}
        with serving(None, path, **tables(upstreams, routes), **more) as served:
            yield served, upstream, till


def allow(served: Serving, nano: int) -> None:
    """A hard budget for everybody, which the server knows when this returns."""
    one = Budget("b", "organization", "", "month", nano, True, False, 1)
    in_store(served, lambda store: store.put_budget(one, time()))
    sleep(4 * limits.BUDGET_CACHE_TTL)


def spent(served: Serving) -> tuple[int, int]:
    """What the budget says: spent, and still reserved."""
    [budget] = in_store(served, lambda store: store.list_budgets())
    return budget.spent, budget.reserved
