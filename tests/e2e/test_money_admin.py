"""Usage, costs, spend limits and alerts, as the official SDK's administration sees them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI

from antiphon.engines.scripted import ScriptedEngine
from conformance import spec
from support.inside import in_store
from support.ledger import entry
from support.money import admin_client
from support.serving import Serving, serving

DAY = 86_400
START = 1_730_419_200  # 2024-11-01
CHANNEL: Any = {"type": "email", "recipients": ["a@example.com"], "subject_prefix": "Oh"}
KINDS = [
    "embeddings",
    "moderations",
    "images",
    "audio_speeches",
    "audio_transcriptions",
    "vector_stores",
    "code_interpreter_sessions",
    "file_search_calls",
    "web_search_calls",
    "decisions",
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(ScriptedEngine(), tmp_path_factory.mktemp("admin")) as served:
        in_store(served, lambda store: store.add_entries(ENTRIES))
        yield served


ENTRIES = [
    entry("a", at=START * 1000, input_tokens=100, cached_tokens=40, cache_write_tokens=10, output_tokens=7, cost=1),
    entry("b", at=(START + 3600) * 1000, input_tokens=1, project_id="proj_two", key_id="key_two", cost=123_456_789),
    entry("c", at=(START + DAY) * 1000, output_tokens=3, batch=1, model="m", served="real-m", cost=None),
    entry("d", at=(START + DAY) * 1000, status=429, attempts=0, error="rate_limit_exceeded"),
]


@pytest.fixture(scope="module")
def admin(served: Serving) -> OpenAI:
    return admin_client(served)


def page(response: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(response.text)
    spec.check("openai", "UsageResponse", body)
    return body


def test_usage_by_day(admin: OpenAI) -> None:
    usage = admin.admin.organization.usage
    body = page(usage.with_raw_response.completions(start_time=START, end_time=START + 3 * DAY))
    assert [(bucket["start_time"], bucket["end_time"]) for bucket in body["data"]] == [
        (START + day * DAY, START + (day + 1) * DAY) for day in range(3)
    ]
    first, second, third = (bucket["results"] for bucket in body["data"])
    assert first[0] | {"object": ""} == {
        "object": "",
        "input_tokens": 101,
        "input_cached_tokens": 40,
        "input_cache_write_tokens": 10,
        "input_uncached_tokens": 51,
        "output_tokens": 7,
        "input_audio_tokens": 0,
        "output_text_tokens": 7,
        "output_audio_tokens": 0,
        "num_model_requests": 2,
        **dict.fromkeys(("project_id", "user_id", "api_key_id", "model", "batch", "service_tier")),
    }
    assert (second[0]["num_model_requests"], third) == (1, [])
    assert (body["has_more"], body["next_page"]) == (False, None)


def test_usage_by_groups_and_filters(admin: OpenAI) -> None:
    usage = admin.admin.organization.usage
    found = usage.completions(
        start_time=START,
        end_time=START + 2 * DAY,
        group_by=["project_id", "api_key_id", "model", "batch", "service_tier", "user_id"],
    )
    groups = [
        (one.project_id, one.api_key_id, one.model, one.batch, one.service_tier, one.user_id)  # type: ignore[union-attr]
        for bucket in found.data
        for one in bucket.results
    ]
    assert groups == [
        ("proj_one", "key_one", "model-a", False, "default", None),
        ("proj_two", "key_two", "model-a", False, "default", None),
        ("proj_one", "key_one", "real-m", True, "default", None),
    ]
    for filters in (
        {"project_ids": ["proj_two"]},
        {"api_key_ids": ["key_two"]},
        {"models": ["real-m"]},
        {"batch": True},
    ):
        found = usage.completions(start_time=START, end_time=START + 2 * DAY, **filters)  # type: ignore[arg-type]
        assert [len(bucket.results) for bucket in found.data].count(1) == 1, filters


def test_pages_of_hours(admin: OpenAI) -> None:
    usage = admin.admin.organization.usage
    options: Any = {"start_time": START + 100, "end_time": START + 2 * DAY, "bucket_width": "1h", "limit": 40}
    first = page(usage.with_raw_response.completions(**options))
    second = page(usage.with_raw_response.completions(**options, page=first["next_page"]))
    assert (len(first["data"]), len(second["data"]), second["next_page"]) == (40, 8, None)
    assert first["data"][0]["start_time"] == START + 100
    assert first["data"][0]["end_time"] == START + 3600
    assert first["data"][0]["results"] == []  # the call at the full hour was before
    assert first["data"][1]["results"][0]["input_tokens"] == 1
    assert second["data"][0]["start_time"] == first["data"][-1]["end_time"]
    assert second["data"][-1]["end_time"] == START + 2 * DAY


def test_costs_are_exact(admin: OpenAI) -> None:
    usage = admin.admin.organization.usage
    raw = usage.with_raw_response.costs(start_time=START, end_time=START + 2 * DAY)
    assert '"value":0.12345679,' in raw.text
    assert raw.headers["x-antiphon-unknown-cost-requests"] == "1"
    page(raw)
    grouped = usage.costs(start_time=START, end_time=START + 2 * DAY, group_by=["project_id", "line_item"])
    shown = [
        (one.project_id, one.line_item, one.amount.value, one.quantity)  # type: ignore[union-attr]
        for bucket in grouped.data
        for one in bucket.results
    ]
    assert shown == [
        ("proj_one", "model-a", 1e-9, 107),
        ("proj_two", "model-a", 0.123456789, 1),
        ("proj_one", "real-m", 0, 3),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_what_there_is_none_of_has_empty_buckets(admin: OpenAI, kind: str) -> None:
    ask = getattr(admin.admin.organization.usage.with_raw_response, kind)
    body = page(ask(start_time=START, end_time=START + DAY, group_by=["project_id"]))
    assert [bucket["results"] for bucket in body["data"]] == [[]]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("", "start_time"),
        ("start_time=x", "start_time"),
        ("start_time=-1", "start_time"),
        ("start_time=99999999999999", "start_time"),
        ("start_time=5&end_time=5", "end_time"),
        ("start_time=5&bucket_width=1w", "bucket_width"),
        ("start_time=5&limit=32", "limit"),
        ("start_time=5&limit=0", "limit"),
        ("start_time=5&group_by[]=x", "group_by"),
        ("start_time=5&batch=maybe", "batch"),
        ("start_time=5&page=page_%C3%A9", "page"),
        ("start_time=5&page=page_AAAA", "page"),
        ("start_time=5&page=page_MA==&end_time=90000", "page"),
        ("start_time=5&page=page_MQ==", "page"),
        ("start_time=5&what=1", "what"),
        ("start_time=5&models[]=%00", None),
    ],
)
def test_bad_queries(served: Serving, admin: OpenAI, query: str, param: str | None) -> None:
    headers = {"Authorization": f"Bearer {admin.admin_api_key}"}
    answer = httpx2.get(f"{served.url}/v1/organization/usage/completions?{query}", headers=headers)
    if param is None:
        assert answer.status_code == 200
        return
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param
    spec.check_error(answer.json())


# --- limits and alerts ------------------------------------------------------------------------------------------------
def test_spend_limits(served: Serving, admin: OpenAI) -> None:
    organization = admin.admin.organization
    project = in_store(served, lambda store: store.list_projects())[0].id
    for limits, options, kind in (
        (organization.spend_limit, (), "organization"),
        (organization.projects.spend_limit, (project,), "project"),
    ):
        with pytest.raises(openai.NotFoundError):
            limits.retrieve(*options)
        made = limits.with_raw_response.update(*options, threshold_amount=1234, currency="USD", interval="month")
        body = json.loads(made.text)
        spec.check("openai", f"{kind.capitalize()}SpendLimitResource", body)
        assert body == {
            "object": f"{kind}.spend_limit",
            "threshold_amount": 1234,
            "currency": "USD",
            "interval": "month",
            "enforcement": {"status": "inactive"},
        }
        limits.update(*options, threshold_amount=5, currency="USD", interval="month")
        assert limits.retrieve(*options).threshold_amount == 5
        gone = limits.with_raw_response.delete(*options)
        spec.check("openai", f"{kind.capitalize()}SpendLimitDeletedResource", json.loads(gone.text))
        assert gone.parse().deleted
        with pytest.raises(openai.NotFoundError):
            limits.delete(*options)


def test_spend_alerts(served: Serving, admin: OpenAI) -> None:
    organization = admin.admin.organization
    project = in_store(served, lambda store: store.list_projects())[0].id
    wanted: Any = {"currency": "USD", "interval": "month", "notification_channel": CHANNEL}
    for alerts, options, kind in (
        (organization.spend_alerts, {}, "organization"),
        (organization.projects.spend_alerts, {"project_id": project}, "project"),
    ):
        first, second, third = (alerts.create(**options, threshold_amount=cents, **wanted) for cents in (1, 2, 3))
        shown = json.loads(alerts.with_raw_response.list(**options, limit=2).text)
        spec.check("openai", f"{kind.capitalize()}SpendAlertListResource", shown)
        assert ([one["id"] for one in shown["data"]], shown["has_more"]) == ([first.id, second.id], True)
        assert [one.id for one in alerts.list(**options, limit=2)] == [first.id, second.id, third.id]
        assert [one.id for one in alerts.list(**options, order="desc", after=third.id)] == [second.id, first.id]
        changed = alerts.update(first.id, **options, threshold_amount=9, **wanted)
        assert (changed.id, changed.threshold_amount) == (first.id, 9)
        assert changed.notification_channel.subject_prefix == "Oh"
        assert alerts.retrieve(first.id, **options).threshold_amount == 9
        for alert in (first, second, third):
            gone = alerts.with_raw_response.delete(alert.id, **options)
            spec.check("openai", f"{kind.capitalize()}SpendAlertDeletedResource", json.loads(gone.text))
        with pytest.raises(openai.NotFoundError):
            alerts.retrieve(first.id, **options)


def test_an_alert_belongs_to_one_owner(served: Serving, admin: OpenAI) -> None:
    organization = admin.admin.organization
    project = in_store(served, lambda store: store.list_projects())[0].id
    alert = organization.spend_alerts.create(
        threshold_amount=1, currency="USD", interval="month", notification_channel=CHANNEL
    )
    with pytest.raises(openai.NotFoundError):
        organization.projects.spend_alerts.retrieve(alert.id, project_id=project)
    with pytest.raises(openai.NotFoundError):
        organization.projects.spend_limit.update("proj_none", threshold_amount=1, currency="USD", interval="month")
    organization.spend_alerts.delete(alert.id)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "threshold_amount"),
        ({"threshold_amount": 0}, "threshold_amount"),
        ({"threshold_amount": 10**18}, "threshold_amount"),
        ({"currency": "EUR"}, "currency"),
        ({"interval": "day"}, "interval"),
        ({"what": 1}, "what"),
    ],
)
def test_bad_limits(served: Serving, admin: OpenAI, body: dict[str, Any], param: str) -> None:
    whole = {"threshold_amount": 1, "currency": "USD", "interval": "month"} | body if body else {}
    headers = {"Authorization": f"Bearer {admin.admin_api_key}"}
    answer = httpx2.post(f"{served.url}/v1/organization/spend_limit", headers=headers, json=whole)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


def test_a_reader_may_look_and_a_project_key_may_not(served: Serving) -> None:
    reader = admin_client(served, "reader").admin.organization
    assert reader.usage.completions(start_time=START, end_time=START + DAY).data
    assert list(reader.spend_alerts.list()) == []
    with pytest.raises(openai.PermissionDeniedError):
        reader.spend_limit.update(threshold_amount=1, currency="USD", interval="month")
    stranger = served.client(admin_api_key=served.key).admin.organization
    with pytest.raises(openai.AuthenticationError):
        stranger.usage.costs(start_time=START)


def test_changes_are_on_the_log_of_changes(served: Serving, admin: OpenAI) -> None:
    from antiphon.domain.organisation import AuditFilter

    admin.admin.organization.spend_limit.update(threshold_amount=250, currency="USD", interval="month")
    admin.admin.organization.spend_limit.delete()
    found = in_store(served, lambda store: store.list_audit(AuditFilter(), limit=2)).data
    assert [one.type for one in found] == ["organization.updated"] * 2
    assert found[1].after["spend_limit"]["dollars"] == "2.5"
    assert found[0].after == {}
    assert found[0].actor.key_id is not None
