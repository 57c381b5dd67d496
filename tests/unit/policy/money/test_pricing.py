"""What generations cost."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import genai_prices
import pytest
from genai_prices.data import providers
from hypothesis import given
from hypothesis import strategies as st

from antiphon.domain.route_trace import TargetName
from antiphon.domain.routing import LOCAL, PriceSpec, RouteSpec, TargetSpec, UpstreamSpec
from antiphon.policy.money.pricing import Pricing, charged, listed, version
from antiphon.protocol.generation import Usage

OPENAI = UpstreamSpec("openai", "responses", "https://api.openai.com/v1")
MINE = UpstreamSpec("mine", "chat", "http://10.0.0.1/v1")
UPSTREAMS = {"openai": OPENAI, "mine": MINE}
# Models of text whose price is the same at every hour, and which are not billed by other things than tokens.
MODELS = [
    model.id
    for provider in providers
    if provider.id == "openai"
    for model in provider.models
    if model.id.startswith(("gpt-4", "gpt-5", "gpt-6", "o1", "o3", "o4"))
    and not any(word in model.id for word in ("audio", "realtime", "image", "tts", "transcribe", "search"))
]


def cost(usage: Usage, model: str = "gpt-5-mini", upstream: str = "openai", **options: Any) -> int | None:
    price = Pricing(UPSTREAMS).price(None, TargetName(upstream, model), usage, **options)
    return None if price is None else price.nano


@given(
    st.sampled_from(MODELS),
    st.integers(0, 1_000_000),
    st.integers(0, 1_000_000),
    st.integers(0, 100_000),
    st.booleans(),
)
def test_the_list_is_read_as_its_own_package_reads_it(
    model: str, plain: int, cached: int, output: int, batch: bool
) -> None:
    usage = Usage(input_tokens=plain + cached, cached_tokens=cached, output_tokens=output)
    ours = cost(usage, model, batch=batch)
    context = {"processing": "batch"} if batch else None
    theirs = genai_prices.calc_price(
        genai_prices.Usage(input_tokens=plain + cached, cache_read_tokens=cached, output_tokens=output),
        model,
        provider_id="openai",
        price_context=context,
    )
    if ours is None:
        info = theirs.model
        known = [variant.when for variant in info.price_variants or ()]
        assert (batch and context not in known) or theirs.model_price.output_mtok is None
        return
    exact = theirs.total_price * 10**9
    assert abs(Decimal(ours) - exact) <= Decimal("0.5")


def test_a_long_input_is_charged_as_a_whole() -> None:
    assert cost(Usage(input_tokens=272_000), "gpt-5.4") == 272_000 * 2_500
    assert cost(Usage(input_tokens=272_001), "gpt-5.4") == 272_001 * 5_000


def test_what_is_not_known_is_not_zero() -> None:
    usage = Usage(1000, 0, 10)
    assert cost(usage, "no-such-model") is None
    assert cost(usage, "gpt-5-mini", "mine") is None
    assert cost(usage, "gpt-5-mini", "elsewhere") is None
    assert cost(usage, tier="a tier that the list does not have") is None
    assert cost(Usage(10), "text-embedding-3-small") == 200
    assert cost(Usage(10, 0, 1), "text-embedding-3-small") is None


def test_tiers_and_batches_have_their_own_prices() -> None:
    usage = Usage(1_000_000, 0, 0)
    assert [cost(usage, tier=tier) for tier in (None, "auto", "default", "flex", "priority")] == [
        250_000_000,
        250_000_000,
        250_000_000,
        125_000_000,
        450_000_000,
    ]
    assert cost(usage, batch=True) == 125_000_000


def test_the_built_in_engine_costs_nothing_and_that_is_known() -> None:
    price = Pricing().price(None, TargetName(LOCAL, "any"), Usage(10**6, 0, 10**6))
    assert price is not None
    assert price == (0, "local")


def test_an_own_price_goes_before_every_list() -> None:
    own = PriceSpec(
        input="1",
        output="10",
        cached="0.1",
        cache_write="1.25",
        reasoning="20",
        input_audio="30",
        output_audio="40",
        request="0.01",
        batch="0.5",
        tiers={"flex": "0.25"},
    )
    spec = RouteSpec("r", (TargetSpec("openai", "gpt-5-mini", price=own), TargetSpec("openai", "gpt-5-nano")))
    pricing = Pricing(UPSTREAMS)
    target = TargetName("openai", "gpt-5-mini")
    usage = Usage(100, 10, 100, 20, 30, 40, 50)
    nano = 20 * 1000 + 10 * 100 + 30 * 1250 + 40 * 30_000 + 30 * 10_000 + 20 * 20_000 + 50 * 40_000 + 10_000_000
    assert pricing.price(spec, target, usage) == (nano, "own")
    assert pricing.price(spec, target, usage, batch=True) == (nano // 2, "own")
    assert pricing.price(spec, target, usage, tier="flex") == (nano // 4, "own")
    other = pricing.price(spec, TargetName("openai", "gpt-5-nano"), usage)
    assert other is not None
    assert other.version == version()
    # The most that a call can cost is that of its dearest target.
    assert pricing.most(spec, "r", Usage(100, 0, 100)) == 100 * 30_000 + 100 * 40_000 + 10_000_000
    unknown = RouteSpec("r", (*spec.targets, TargetSpec("mine")))
    assert pricing.most(unknown, "r", Usage(1, 0, 1)) is None
    fallback = RouteSpec("r", spec.targets, fallbacks=(TargetSpec("mine"),))
    assert pricing.most(fallback, "r", Usage(1, 0, 1)) is None


def test_targets_can_be_compared() -> None:
    pricing = Pricing(UPSTREAMS)
    mini, mine = TargetName("openai", "gpt-5-mini"), TargetName("mine", "m")
    assert pricing.to_compare(mini, TargetSpec("openai")) == 2.25
    assert pricing.to_compare(mini, TargetSpec("openai", price=PriceSpec("1", "2"))) == 3
    assert pricing.to_compare(mine, TargetSpec("mine")) is None
    assert pricing.to_compare(TargetName(LOCAL, "m"), TargetSpec(LOCAL)) == 0


def test_a_price_is_rounded_once_half_up() -> None:
    rates = listed("", "openai", "gpt-5-nano")
    assert rates is not None
    # 0.005 dollars a million cached tokens are 5 nano-dollars each; 50 of input, 400 of output.
    assert charged(rates, Usage(input_tokens=3, cached_tokens=1, output_tokens=1)) == (505, version())
    from dataclasses import replace

    half = replace(rates, input=500_000, cached=500_000)
    assert charged(half, Usage(input_tokens=1)) == (1, version())
    assert charged(half, Usage(input_tokens=2, cached_tokens=1)) == (1, version())
    assert charged(replace(half, input=499_999), Usage(input_tokens=1)) == (0, version())


def test_a_price_that_begins_later_is_used_from_then_on() -> None:
    now = [1_760_000_000.0]  # 2025-10-09
    pricing = Pricing(UPSTREAMS, lambda: now[0])
    target, usage = TargetName("openai", "gpt-5-mini"), Usage(1_000_000)
    # The list knows flex prices from 2026-10-12 on, and none before.
    before = pricing.price(None, target, usage, tier="flex")
    now[0] = 1_800_000_000.0
    after = pricing.price(None, target, usage, tier="flex")
    assert before is not None
    assert after is not None
    assert (before.nano, after.nano) == (250_000_000, 125_000_000)


def test_a_price_is_cheap_to_find() -> None:
    pricing = Pricing(UPSTREAMS)
    target, usage = TargetName("openai", "gpt-5-mini"), Usage(1000, 10, 100)
    pricing.price(None, target, usage)
    best = min(_timed(lambda: pricing.price(None, target, usage)) for _ in range(5))
    assert best < 20e-6  # it takes 1.5: this fails if the list is read again for each call


def _timed(work: Any) -> float:
    began = time.perf_counter()
    for _ in range(1000):
        work()
    return (time.perf_counter() - began) / 1000


def test_counts_that_contradict_each_other_are_never_charged_below_zero() -> None:
    rates = listed("", "openai", "gpt-5-mini")
    assert rates is not None
    price = charged(rates, Usage(input_tokens=1, cached_tokens=10, output_tokens=1, reasoning_tokens=5))
    assert price is not None
    assert price.nano == 10 * 25 + 5 * 2000


@pytest.mark.parametrize("profile", ["generic", "vllm", ""])
def test_a_profile_that_the_list_does_not_know_prices_nothing(profile: str) -> None:
    assert listed("http://localhost:8000/v1", profile, "gpt-5-mini") is None
