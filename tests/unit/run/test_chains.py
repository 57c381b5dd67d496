"""What a connection remembers, and what it forgets."""

from __future__ import annotations

from typing import Any

import pytest

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest
from antiphon.run.chains import Chains, Link


def item(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": text, **fields}


def remembered(chains: Chains, response_id: str) -> bool:
    """Whether a response is found (what is not persisted is found nowhere else)."""
    try:
        return chains.parent(response_id, stored=False) is not None
    except InvalidRequest:
        return False


def test_history_is_in_order_and_without_what_was_cut_off() -> None:
    cut = {"type": "function_call", "status": "incomplete"}
    first = Link(None, [item("one"), cut], persisted=False)
    second = Link(first, [item("two")], persisted=False)
    assert second.history() == [item("one"), item("two")]
    assert first.history() == [item("one")]


def test_what_is_persisted_is_not_held() -> None:
    link = Link(None, [item("one")], persisted=True)
    assert (link.items, link.size) == ((), 0)


def test_only_stored_requests_ask_the_store() -> None:
    chains = Chains()
    assert chains.parent(None, stored=False) is None
    assert chains.parent("resp_1", stored=True) is None
    with pytest.raises(InvalidRequest) as caught:
        chains.parent("resp_1", stored=False)
    assert (caught.value.code, caught.value.param) == ("previous_response_not_found", "previous_response_id")


def test_a_child_keeps_what_its_forgotten_parent_held() -> None:
    chains = Chains()
    parent = Link(None, [item("one")], persisted=False)
    chains.keep("resp_1", parent)
    chains.keep("resp_2", Link(parent, [item("two")], persisted=False))
    chains.forget("resp_1")
    assert not remembered(chains, "resp_1")
    link = chains.parent("resp_2", stored=False)
    assert link is not None
    assert len(link.history()) == 2


def test_bytes_are_bounded_and_shared_ones_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SOCKET_CHAIN_BYTES", 10_000)
    chains = Chains()
    root = Link(None, [item("x" * 5_000)], persisted=False)
    for number in range(10):
        chains.keep(f"resp_{number}", Link(root, [item("y")], persisted=False))
    assert remembered(chains, "resp_0")
    chains.keep("other", Link(None, [item("x" * 6_000)], persisted=False))
    assert not remembered(chains, "resp_9")
    chains.keep("huge", Link(None, [item("x" * 60_000)], persisted=False))
    assert not remembered(chains, "other")
    assert remembered(chains, "huge"), "the newest is always kept"


def test_chains_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CHAIN", 3)
    chains = Chains()
    link = None
    for number in range(3):
        link = Link(link, [item("x")], persisted=False)
        chains.keep(str(number), link)
    assert chains.parent("1", stored=False) is not None
    with pytest.raises(InvalidRequest) as caught:
        chains.parent("2", stored=False)
    assert (caught.value.code, caught.value.param) == ("response_chain_too_long", "previous_response_id")
