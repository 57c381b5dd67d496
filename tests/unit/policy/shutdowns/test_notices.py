"""What is said of shutdowns on calls and models, and which uses are counted."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime

import pytest

from antiphon.domain import limits
from antiphon.domain.errors import StoreFailed
from antiphon.domain.retirement import Retirement, Retirements, Use
from antiphon.domain.route_trace import TargetName
from antiphon.domain.routing import LOCAL, TargetSpec, UpstreamSpec
from antiphon.engines.scripted import ScriptedEngine
from antiphon.engines.single import SingleRoute
from antiphon.policy.call import Call, GenerationContext
from antiphon.policy.pipeline.pipeline import Pipeline
from antiphon.policy.shutdowns.notices import Shutdowns, is_openai
from antiphon.policy.shutdowns.uses import UseLog
from support.caching import ScriptedRoute, SetClock, a_call, asking
from support.calls import call_of

PAGE = "https://example.com/list"
EARLY = Retirement("model", "gpt-4", date(2026, 10, 23), "gpt-y", "https://x", date(2026, 4, 22))
LATE = Retirement("model", "gpt-4o", date(2027, 1, 14), "gpt-z", "https://x")
PATH = Retirement("endpoint", "/v1/old", date(2026, 12, 1), "/v1/new", "https://x", date(2026, 1, 1), "/v1/new")
KNOWN = Retirements(date(2026, 11, 22), PAGE, {"gpt-4": EARLY, "gpt-4o": LATE}, {"/v1/old": PATH})
UPSTREAMS = (
    UpstreamSpec("openai", "responses", "https://api.openai.com/v1", profile="openai"),
    UpstreamSpec("azure", "chat", "https://example.openai.azure.com/v1"),
    UpstreamSpec("vllm", "chat", "http://localhost:8000/v1"),
)
SHUTDOWNS = Shutdowns(KNOWN, UPSTREAMS)


@pytest.mark.parametrize(
    ("url", "profile", "expected"),
    [
        ("https://api.openai.com/v1", "generic", True),
        ("https://eu.api.openai.com/v1", "generic", True),
        ("https://proxy.example.com/v1", "openai", True),
        ("https://api.openai.com.example.com/v1", "generic", False),
        ("https://myapi.openai.com.evil/v1", "generic", False),
        ("http://localhost:8000/api.openai.com", "generic", False),
    ],
)
def test_which_servers_are_openais(url: str, profile: str, expected: bool) -> None:
    assert is_openai(UpstreamSpec("x", "chat", url, profile=profile)) is expected


def test_only_targets_on_openais_servers_go() -> None:
    assert SHUTDOWNS.target(TargetName("openai", "gpt-4o")) == LATE
    assert SHUTDOWNS.target(TargetName("openai", "gpt-6")) is None
    for other in ("azure", "vllm", LOCAL, "unknown"):
        assert SHUTDOWNS.target(TargetName(other, "gpt-4o")) is None


@pytest.mark.parametrize(
    ("name", "targets", "fallbacks", "expected"),
    [
        ("gpt-4o", ("openai",), (), LATE.shutdown),
        ("smart", ("openai/gpt-4o",), (), LATE.shutdown),
        ("gpt-4o", ("openai/gpt-6",), (), None),
        ("gpt-4o", ("vllm",), (), None),
        ("smart", ("openai/gpt-4", "openai/gpt-4o"), (), LATE.shutdown),
        ("smart", ("openai/gpt-4", "vllm/llama"), (), None),
        ("smart", ("openai/gpt-4",), ("vllm/llama",), EARLY.shutdown),
        ("smart", (), ("openai/gpt-4",), None),
    ],
)
def test_a_route_goes_with_the_last_of_its_first_choices(
    name: str, targets: tuple[str, ...], fallbacks: tuple[str, ...], expected: date | None
) -> None:
    def specs(names: tuple[str, ...]) -> tuple[TargetSpec, ...]:
        return tuple(TargetSpec(upstream, model or None) for upstream, _, model in (n.partition("/") for n in names))

    route = ScriptedRoute(ScriptedEngine(), name=name, targets=specs(targets), fallbacks=specs(fallbacks))
    assert SHUTDOWNS.route(route) == expected


def test_a_local_alias_of_a_name_that_goes_stays() -> None:
    assert SHUTDOWNS.route(SingleRoute("gpt-4o", ScriptedEngine(), 1)) is None


def test_all_targets_that_go_are_listed() -> None:
    route = ScriptedRoute(
        ScriptedEngine(), targets=(TargetSpec("openai"), TargetSpec("vllm")), fallbacks=(TargetSpec("openai", "gpt-4"),)
    )
    assert route.spec is not None
    assert [(target.model, found.name) for _, target, found in SHUTDOWNS.targets([route.spec])] == [
        (None, "gpt-4o"),
        ("gpt-4", "gpt-4"),
    ]


# --- headers ----------------------------------------------------------------------------------------------------------
def headers_of(retirement: Retirement) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in SHUTDOWNS.headers(retirement)}


def test_headers_are_those_of_the_rfcs() -> None:
    headers = headers_of(EARLY)
    # RFC 9745, section 2.1: `@` and Unix seconds. RFC 8594, section 3: an HTTP-date.
    assert headers["deprecation"] == f"@{int(datetime(2026, 4, 22, tzinfo=UTC).timestamp())}"
    assert headers["sunset"] == "Fri, 23 Oct 2026 00:00:00 GMT"
    assert parsedate_to_datetime(headers["sunset"]) == datetime(2026, 10, 23, tzinfo=UTC)
    assert headers["link"] == f'<{PAGE}>; rel="deprecation sunset"; type="text/html"'
    assert headers["x-antiphon-replacement"] == "gpt-y"


def test_a_date_that_is_not_known_is_not_made_up() -> None:
    assert "deprecation" not in headers_of(LATE)


def test_an_endpoint_names_its_successor() -> None:
    assert headers_of(PATH)["link"].endswith(', </v1/new>; rel="successor-version"')
    assert SHUTDOWNS.endpoint("/v1/old/{id}") == SHUTDOWNS.headers(PATH)
    assert SHUTDOWNS.endpoint("/v1/new") == []


def served_by(upstream: str, model: str, call: Call | None = None) -> GenerationContext:
    call = call or a_call()
    context = GenerationContext(call, ScriptedRoute(ScriptedEngine()), asking())
    context.trace.target = TargetName(upstream, model)
    call.generations.append(context)
    return context


def sunset(call: Call) -> list[bytes]:
    return [value for name, value in call.headers if name == b"sunset"]


def test_a_call_says_it_once_and_the_first_date() -> None:
    call = a_call()
    call.headers.append((b"x-other", b"1"))
    for model in ("gpt-4o", "gpt-4o", "gpt-4", "gpt-4o", "gpt-6"):
        SHUTDOWNS.answer_started(served_by("openai", model, call))
    assert sunset(call) == [b"Fri, 23 Oct 2026 00:00:00 GMT"]
    assert len([name for name, _ in call.headers if name == b"link"]) == 1
    assert (b"x-other", b"1") in call.headers


def test_a_call_that_nothing_is_known_of_says_nothing() -> None:
    call = a_call()
    SHUTDOWNS.answer_started(served_by(LOCAL, "gpt-4o", call))
    SHUTDOWNS.answer_started(GenerationContext(call, ScriptedRoute(ScriptedEngine()), asking()))
    assert call.headers == []


def test_the_gate_has_it_said() -> None:
    async def test() -> None:
        gate = Pipeline(start_listeners=(SHUTDOWNS,))
        call = a_call()
        stream = await gate.bound(call, ScriptedRoute(ScriptedEngine())).generate(asking())
        assert sunset(call) == [b"Thu, 14 Jan 2027 00:00:00 GMT"], "it must be there before the first delta is sent"
        await stream.aclose()

    asyncio.run(test())


# --- uses -------------------------------------------------------------------------------------------------------------
class MemoryUses:
    """Implements `ports.UseStore`."""

    def __init__(self) -> None:
        self.noted: list[Use] = []
        self.error: Exception | None = None

    async def note_use(self, use: Use) -> None:
        if self.error is not None:
            raise self.error
        self.noted.append(use)

    async def list_uses(self) -> list[Use]:
        return self.noted


def test_uses_are_counted_by_key_and_what_goes() -> None:
    async def test() -> None:
        store, clock = MemoryUses(), SetClock()
        log = UseLog(SHUTDOWNS, store, clock)
        for _ in range(3):
            call = call_of("proj_one", "/v1/old/{id}", key_id="key_a")
            served_by("openai", "gpt-4o", call)
            served_by("openai", "gpt-4o", call)
            log.call_ended(call)
        other = call_of("proj_one", key_id="key_b")
        served_by(LOCAL, "gpt-4o", other)
        served_by("openai", "gpt-6", other)
        log.call_ended(other)
        await log.stop()
        day = 1_699_920_000  # 2023-11-14 in UTC
        assert sorted(store.noted, key=lambda use: use.subject) == [
            Use("proj_one", "key_a", "endpoint:/v1/old", day, 3),
            Use("proj_one", "key_a", "model:gpt-4o", day, 3),
        ]
        await log.stop()
        assert len(store.noted) == 2

    asyncio.run(test())


def test_what_waits_to_be_written_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PENDING_USES", 2)

    async def test() -> None:
        store = MemoryUses()
        log = UseLog(SHUTDOWNS, store, SetClock())
        for key in ("a", "b", "c", "a"):
            log.call_ended(call_of("proj_one", "/v1/old", key_id=key))
        await log.write()
        assert [(use.key_id, use.count) for use in store.noted] == [("a", 2), ("b", 1)]

    asyncio.run(test())


def test_a_store_that_fails_stops_nothing() -> None:
    async def test() -> None:
        store = MemoryUses()
        store.error = StoreFailed("full")
        log = UseLog(SHUTDOWNS, store, SetClock())
        log.call_ended(call_of("proj_one", "/v1/old"))
        await log.write()
        store.error = None
        log.call_ended(call_of("proj_one", "/v1/old"))
        await log.stop()
        assert [use.count for use in store.noted] == [1]

    asyncio.run(test())
