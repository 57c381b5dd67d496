"""Generated hostile bodies: thousands of them, over every endpoint that takes one."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.rawhttp import Closed, Wire

from . import mutations, valid
from .judge import judge, judge_refusal

BODIES = {
    "response": (valid.RESPONSES_PATH, valid.RESPONSE),
    "small response": (valid.RESPONSES_PATH, valid.SMALL_RESPONSE),
    "stored response": (valid.RESPONSES_PATH, valid.STORED_RESPONSE),
    "chat": (valid.CHAT_PATH, valid.CHAT),
    "legacy chat": (valid.CHAT_PATH, valid.LEGACY_CHAT),
    "stored chat": (valid.CHAT_PATH, valid.STORED_CHAT),
}


def check_all(wire: Wire, path: str, bodies: Iterable[tuple[str, bytes]]) -> int:
    """Ask with every body and judge the answers; returns how many there were."""
    wrong = []
    count = 0
    for what, body in bodies:
        try:
            judge(wire.ask("POST", path, body))
        except (AssertionError, ValueError, KeyError, Closed, OSError) as error:
            wrong.append(f"{what}: {error!r}")
        count += 1
    assert not wrong, "\n".join(wrong)
    return count


@pytest.mark.parametrize("name", BODIES)
def test_the_bodies_to_start_from_are_valid(wire: Wire, name: str) -> None:
    path, body = BODIES[name]
    answer = wire.ask("POST", path, body)
    assert answer.status == 200, answer.body
    judge(answer)


@pytest.mark.parametrize("name", BODIES)
def test_each_member_replaced_removed_and_doubled(wire: Wire, name: str) -> None:
    path, body = BODIES[name]
    common = 2 if name in ("response", "chat") else 1
    assert check_all(wire, path, mutations.all_of(body, common=common)) > 150
