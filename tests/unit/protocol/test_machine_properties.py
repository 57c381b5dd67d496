"""Whatever an engine does, what comes out of the machines is legal."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.domain.errors import EngineFailed
from antiphon.protocol.events import Event, MachineError
from antiphon.protocol.generation import (
    CallArguments,
    CallStart,
    Delta,
    Finish,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    Usage,
)
from antiphon.protocol.responses.ending import Steered
from antiphon.protocol.responses.table import TRANSITIONS, Fact, ItemDelta, ResponseDelta, State
from antiphon.wire import json as wire_json
from conformance.sequence import check_sequence
from conformance.spec import check_chat_chunk, check_chat_completion, check_response, check_response_event
from support.examples import examples
from support.machines import chat_machine, response_machine

words = st.text(max_size=12)
#: Tokens that are part of others are never more than they.
usages = st.tuples(*[st.integers(0, 1000)] * 4).map(lambda n: Usage(n[0] + n[1], n[1], n[2] + n[3], n[3]))


def deltas_with(kinds: list[str]) -> st.SearchStrategy[Delta]:
    return st.one_of(
        words.map(TextDelta),
        words.map(RefusalDelta),
        words.map(ReasoningDelta),
        st.builds(CallStart, st.sampled_from(["add", "get_weather"]), words, st.sampled_from(kinds)),
        words.map(CallArguments),
    )


deltas = deltas_with(["function", "custom"])
whole_items = st.uuids().map(
    lambda number: ItemDelta({"id": f"cmp_{number}", "type": "compaction", "encrypted_content": "sealed"})
)
ends = st.one_of(
    st.builds(
        Finish,
        st.sampled_from(["stop", "length", "tool_calls", "content_filter"]),
        usages,
    ),
    st.sampled_from(["fault", "cancel"]),
)
scripts = st.tuples(st.lists(st.one_of(deltas, whole_items), max_size=30), ends)


def decoded(events: list[Event]) -> list[dict[str, object]]:
    return [wire_json.decode(wire_json.encode(event.body)) for event in events]  # type: ignore[misc]  # objects all


@settings(max_examples=examples(150), deadline=None)
@given(scripts)
def test_random_engines_make_legal_responses(script: tuple[list[ResponseDelta], Finish | str]) -> None:
    steps, end = script
    machine = response_machine(obfuscate=True)
    events = machine.start()
    broken = False
    try:
        for step in steps:
            events += machine.feed(step)
    except MachineError:
        broken = True
    if broken or end == "fault":
        events += machine.fault(EngineFailed("It broke."))
    elif end == "cancel":
        events += machine.cancel()
    else:
        assert isinstance(end, Finish)
        events += machine.feed(end)
    assert machine.ended
    bodies = decoded(events)
    if end == "cancel" and not broken:
        assert machine.snapshot()["status"] == "cancelled"
    else:
        check_sequence(bodies)
        for body in bodies:
            check_response_event(body)
    check_response(wire_json.decode(wire_json.encode(machine.snapshot())))


@settings(max_examples=examples(100), deadline=None)
@given(scripts, st.data())
def test_a_machine_restored_at_any_fact_goes_on_as_the_first_would_have(
    script: tuple[list[ResponseDelta], Finish | str], data: st.DataObject
) -> None:
    steps, end = script
    first = response_machine()
    logged = [first.start()]
    facts: list[ResponseDelta] = []
    with contextlib.suppress(MachineError):
        for step in steps:
            logged.append(first.feed(step))
            facts.append(step)
    last = end if isinstance(end, Finish) else Finish("stop")
    logged.append(first.feed(last))
    facts.append(last)
    cut = data.draw(st.integers(1, len(logged) - 1))
    second = response_machine(ids=lambda prefix: next(item_ids))
    second.restore(body for events in logged[:cut] for body in decoded(events))
    made = [
        event.body["item"]["id"] for events in logged[cut:] for event in events if event.type.endswith("item.added")
    ]
    item_ids = iter([item_id for item_id in made if not item_id.startswith("cmp_")])
    for fact, events in zip(facts[cut - 1 :], logged[cut:], strict=True):
        assert decoded(second.feed(fact)) == decoded(events)
    assert decoded([Event("", second.snapshot())]) == decoded([Event("", first.snapshot())])


@settings(max_examples=examples(100), deadline=None)
# The published schema of chunks knows calls of functions only; calls of custom tools are streamed in the same way.
@given(st.lists(st.tuples(st.integers(0, 1), deltas_with(["function"])), max_size=30))
def test_random_engines_make_legal_completions(facts: list[tuple[int, Delta]]) -> None:
    machine = chat_machine(choices=2, include_usage=True)
    events = machine.start()
    for fact in facts:
        with contextlib.suppress(MachineError):
            events += machine.feed(fact)
    events += machine.feed((0, Finish("stop", Usage(3, 0, 2))))
    events += machine.feed((1, Finish("length", Usage(3, 0, 2))))
    assert machine.ended
    bodies = decoded(events)
    for body in bodies:
        check_chat_chunk(body)
    completion = wire_json.decode(wire_json.encode(machine.completion()))
    check_chat_completion(completion)
    assert isinstance(completion, dict)
    for index, choice in enumerate(completion["choices"]):
        said = [
            choice["delta"].get("content") or ""
            for body in bodies
            for choice in body["choices"]  # type: ignore[attr-defined]  # decoded JSON
            if choice["index"] == index
        ]
        assert "".join(said) == (choice["message"]["content"] or "")


def test_every_open_state_can_end_in_every_way() -> None:
    for state in set(State) - {State.ENDED}:
        for fact in (Fact.FINISH, Fact.FAULT, Fact.CANCEL):
            if fact is not Fact.FINISH or state not in {State.NEW, State.QUEUED}:
                assert TRANSITIONS[state][fact][0] is State.ENDED


def test_an_item_can_come_whole_at_any_time() -> None:
    # What another server says is relayed as a whole.
    for state in set(State) - {State.NEW, State.QUEUED, State.RELAYED, State.ENDED}:
        after, actions = TRANSITIONS[state][Fact.ITEM]
        assert after is State.BETWEEN
        assert actions[-1] == "item"


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(deltas, max_size=30), st.integers(0, 30))
def test_whatever_was_said_can_be_steered_unless_it_waits_for_an_answer(steps: list[Delta], at: int) -> None:
    machine = response_machine(obfuscate=True)
    events = machine.start()
    with contextlib.suppress(MachineError):
        for step in steps[:at]:
            events += machine.feed(step)
    calls = machine.state in {State.CALL, State.CUSTOM} or any(
        item["type"].endswith("_call") for item in machine.output
    )
    assert machine.steerable == (not calls)
    if machine.steerable:
        events += machine.feed(Steered())
        bodies = decoded(events)
        check_sequence(bodies)
        for body in bodies:
            check_response_event(body)
        assert machine.snapshot()["incomplete_details"] == {"reason": "steered"}


def test_nothing_follows_the_end() -> None:
    assert TRANSITIONS[State.ENDED] == {}


def test_what_a_row_opens_is_closed_by_every_row_that_leaves() -> None:
    """Each state has one set of closing actions, and every row that leaves the state begins with it."""
    closing = {
        State.TEXT: "close_text",
        State.REFUSAL: "close_refusal",
        State.REASONING: "close_thought",
        State.CALL: "close_call",
        State.CUSTOM: "close_custom",
    }
    for state, first in closing.items():
        for after, actions in TRANSITIONS[state].values():
            stays = after is state and len(actions) == 1
            assert stays or actions[0] == first, (state, actions)
