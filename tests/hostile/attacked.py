"""A server that is attacked, and what it must have left behind: a row for each call, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import psutil
from prometheus_client.parser import text_string_to_metric_families

from antiphon.domain import limits
from antiphon.domain.budgets import Budget
from antiphon.domain.rates import RateLimit
from antiphon.engines.scripted import ScriptedEngine, Step, echo
from antiphon.protocol.generation import Generation
from support.gate import until
from support.inside import in_store
from support.rawhttp import Answer, Wire
from support.serving import Serving, serving
from support.upstream_of import tables, upstream

from . import valid

T = TypeVar("T")

#: US dollars for a million tokens of an upstream: what is spent on it is reserved before, and settled after.
PRICE = {"input": "0", "output": "0.001"}
#: Models: the built-in one, and the same one behind each kind of upstream.
LOCAL, CHAT, RESPONSES = "gpt-5-mini", "paid-chat", "paid-responses"
#: Calls that may be under way at the same time: a count that is not given back is soon in everybody's way.
_CONCURRENT = 32
#: Connections to the upstream that stay open after requests that came one after the other.
_MOST_CONNECTIONS = 8
#: Objects of one class that a server may gain in thousands of requests: its counters, and what it remembers of names.
_MOST_OBJECTS = 500
#: What must not be in the database when a server has ended, by name.
_LEFT = {
    "open jobs": "SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')",
    "unfinished responses": "SELECT count(*) FROM responses WHERE status IN ('queued', 'in_progress')",
    "locked conversations": "SELECT count(*) FROM conversations WHERE active_response_id IS NOT NULL",
    "reservations": "SELECT count(*) FROM reservations",
    "reserved money": "SELECT count(*) FROM budgets WHERE reserved <> 0",
    "unanswered idempotency keys": "SELECT count(*) FROM idempotency_keys WHERE status IS NULL",
    "workers": "SELECT count(*) FROM workers",
}
#: The beginning of a response, as JSON or in the first event of a stream, that is made in the background.
_BACKGROUND = re.compile(rb'"id":"(resp_\w+)","object":"response","created_at":\d+,"status":"\w+","background":true')
_MAKING = (valid.RESPONSES_PATH, valid.CHAT_PATH, valid.COMPACT_PATH)


class Asked(NamedTuple):
    """A request that was answered. `name`: what its row in the ledger has as the request's id.

    `background`: a job answers it, and the row is that one's.
    """

    method: str
    path: str
    status: int
    name: str
    background: bool


class RecordingWire(Wire):
    """A connection that notes what was answered on it."""

    def __init__(self, url: str, headers: dict[str, str], asked: list[Asked]) -> None:
        super().__init__(url, headers)
        self._asked = asked
        self._used_at = time.monotonic()

    def ask(self, method: str, path: str, body: Any = None, **headers: str | None) -> Answer:
        """One request and its answer, noted."""
        if time.monotonic() - self._used_at > 1:
            self.close()  # the server may have closed it
        answer = super().ask(method, path, body, **headers)
        self._used_at = time.monotonic()
        path = path.partition("?")[0]
        made = _BACKGROUND.search(answer.body) if answer.status == 200 and method == "POST" else None
        name = made[1].decode() if made is not None else answer.headers["x-request-id"]
        if "idempotency-replayed" not in answer.headers:  # it was paid for with the first one
            self._asked.append(Asked(method, path, answer.status, name, made is not None))
        return answer


class Attacked:
    """A running server and what was asked of it. `behind`: the server that is its upstream, where it has one."""

    def __init__(self, served: Serving, behind: Serving | None) -> None:
        self.served = served
        self.asked: list[Asked] = []
        self._behind = behind
        self._tasks = self._in_loop(_tasks)
        self._objects = _objects()

    def wire(self) -> RecordingWire:
        """A connection with a valid key."""
        return RecordingWire(self.served.url, self.served.headers, self.asked)

    def check_nothing_in_flight(self) -> None:
        """Nothing is under way, here or upstream, and nothing of all that was asked is still in memory."""
        for server in (self.served, self._behind):
            if server is not None:
                until(lambda server=server: _under_way(server) == 0, "requests and generations have ended")  # type: ignore[misc]
        until(lambda: self._select(_LEFT["open jobs"]) == [(0,)], "jobs have ended")
        until(lambda: not self._in_loop(_tasks) - self._tasks, "tasks of requests and jobs have ended")
        grown = {name: more for name, more in (_objects() - self._objects).items() if more > _MOST_OBJECTS}
        assert not grown, f"after {len(self.asked)} requests there are more of these: {grown}"
        if self._behind is not None:
            port = int(self._behind.url.rpartition(":")[2])
            opened = [each for each in psutil.Process().net_connections("tcp") if each.raddr and each.raddr[1] == port]
            assert len(opened) <= _MOST_CONNECTIONS, "connections to the upstream are used again"

    def check_what_is_stored(self) -> None:
        """To be called when the server has ended: each call has its row, once, and nothing is held any more."""
        for what, query in _LEFT.items():
            assert self._select(query) == [(0,)], what
        rows = self._select("SELECT request_id, status, error FROM ledger")
        twice = [name for name, count in Counter(row[0] for row in rows).items() if count > 1]
        assert not twice, "calls with more than one row"
        told = {row[0]: row[1:] for row in rows}
        for asked in self.asked:
            row = told.get(asked.name)
            made = asked.status == 200 and asked.method == "POST" and asked.path in _MAKING
            assert row is not None or not made, f"{asked} has no row ({self.asked.index(asked)} of {len(self.asked)})"
            if row is not None and not asked.background:
                assert row[0] == asked.status, f"{asked} has the row {row}"
                assert (row[1] is None) == (asked.status == 200), f"{asked} has the row {row}"

    def _in_loop(self, work: Callable[[], T]) -> T:
        """Call a function in the server's loop."""
        done = threading.Event()
        result: list[T] = []

        def call() -> None:
            result.append(work())
            done.set()

        self.served.call(call)
        assert done.wait(10)
        return result[0]

    def _select(self, query: str) -> list[tuple[Any, ...]]:
        def read(session: Any) -> list[tuple[Any, ...]]:
            session._cursor.execute(query, {})
            return [tuple(row) for row in session._cursor.fetchall()]

        return in_store(self.served, lambda store: store._database.read(read))


@contextlib.contextmanager
def attacked(path: Path, database: str | None = None, *, gateway: bool = False) -> Iterator[Attacked]:
    """A server whose model says again what it was told, under limits and a budget that no request comes near.

    `gateway`: it also has routes to upstreams that cost money. At the end of the block, nothing may be left of all that
    was asked of it.
    """
    options = {} if database is None else {"database": database}
    with contextlib.ExitStack() as stack:
        behind = None
        if gateway:
            behind = stack.enter_context(serving(_engine(), _folder(path / "behind")))
            options |= _routes(behind, path)
        with serving(_engine(), _folder(path / "front"), **options) as served:
            in_store(served, lambda store: store.put_rate_limit(RateLimit("organization", "", concurrent=_CONCURRENT)))
            budget = Budget("budget_1", "organization", "", "month", limits.MAX_COST, True, False, 1)
            in_store(served, lambda store: store.put_budget(budget, 1.0))
            under_attack = Attacked(served, behind)
            yield under_attack
            under_attack.check_nothing_in_flight()
        under_attack.check_what_is_stored()


def _folder(path: Path) -> Path:
    path.mkdir(mode=0o700)
    return path


def _engine() -> ScriptedEngine:
    def script(generation: Generation) -> list[Step]:
        engine.asked.clear()  # what a test's engine remembers is no leak of the server
        return list(echo(generation))

    engine = ScriptedEngine(script)
    return engine


def _routes(behind: Serving, path: Path) -> dict[str, Any]:
    kinds = {CHAT: "chat", RESPONSES: "responses"}
    upstreams = {name: {**upstream(behind, path / name), "kind": kind} for name, kind in kinds.items()}
    routes = {
        name: {"targets": [{"upstream": name, "model": LOCAL, "price": PRICE}], "retries": 0} for name in upstreams
    }
    return tables(upstreams, routes, model="default")


def _tasks() -> Counter[str]:
    """The tasks of the running loop, by what they run."""
    return Counter(getattr(task.get_coro(), "__qualname__", "?") for task in asyncio.all_tasks())


def _objects() -> Counter[str]:
    """The objects of our own classes that are alive, by class."""
    gc.collect()
    names = (f"{kind.__module__}.{kind.__name__}" for kind in map(type, gc.get_objects()))
    return Counter(name for name in names if name.startswith("antiphon."))


def _under_way(served: Serving) -> int:
    """What a server says that it is doing, without the request that asks."""
    with Wire(served.url) as wire:
        text = wire.ask("GET", "/metrics").body.decode()
    names = ("antiphon_requests_in_flight", "antiphon_generations_in_flight")
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return int(sum(sample.value for sample in samples if sample.name in names)) - 1
