"""Whatever another server says, what comes of it is a legal stream with one end."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.domain.errors import AntiphonError, UpstreamFailed
from antiphon.protocol.events import Event
from antiphon.protocol.generation import Finish, PassthroughDelta, Usage
from antiphon.protocol.responses.ending import Steered
from antiphon.protocol.responses.machine import ResponseMachine
from antiphon.protocol.responses.relay import TERMINAL
from antiphon.protocol.responses.streamed import ANNOTATION, ITEM_OF, PART_OF, PARTS
from conformance.samples import call, message, reasoning, response, stream
from conformance.sequence import check_sequence
from support.examples import examples
from support.hosted import SEALED, SEARCH, searching
from support.machines import response_machine

Body = dict[str, Any]
_STEMS = [*ITEM_OF, *PART_OF, "response.reasoning"]
KINDS = [
    *(f"{stem}.{step}" for stem in _STEMS for step in ("delta", "done")),
    *(f"{stem}.{step}" for stem in (*PARTS, "response.output_item") for step in ("added", "done")),
    *(ANNOTATION, *TERMINAL, "response.created", "response.web_search_call.searching", "error", "response.failed"),
]
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
texts = st.sampled_from(["", "a", "He", "Hello", '{"a": 1}', "H.", "Hm."])
parts = st.builds(
    lambda kind, text, more: {"type": kind, "refusal" if kind == "refusal" else "text": text, **more},
    st.sampled_from(["output_text", "refusal", "reasoning_text", "summary_text"]),
    texts,
    st.fixed_dictionaries({}, optional={"annotations": st.lists(anything, max_size=2), "logprobs": anything}),
)
items = st.builds(
    lambda item, more: {**item, **{name: value for name, value in more.items() if name in item}},
    st.sampled_from([message(), call(), call(id="fc_2", name="g"), reasoning(), SEARCH, SEALED, {"type": "new"}]),
    st.fixed_dictionaries(
        {},
        optional={
            "id": st.sampled_from(["a", "b", "", 3, None, [], {}]),
            "status": st.sampled_from(["in_progress", "completed", "incomplete", 1, []]),
            "content": st.lists(parts, max_size=3),
            "summary": st.lists(parts, max_size=2),
            "arguments": texts,
        },
    ),
)
strange = st.builds(
    lambda kind, more: {"type": kind, **more},
    st.sampled_from(KINDS),
    st.fixed_dictionaries(
        {"output_index": st.integers(0, 3), "content_index": st.integers(0, 2), "summary_index": st.integers(0, 1)},
        optional={
            "item": items,
            "part": parts,
            "delta": texts,
            "text": texts,
            "refusal": texts,
            "arguments": texts,
            "annotation": anything,
            "logprobs": anything,
            "response": st.builds(lambda output: response(output=output), st.lists(items, max_size=3)),
        },
    ),
)
garbage = st.one_of(strange, st.dictionaries(st.sampled_from(["type", "output_index", "item", "delta"]), anything))


@st.composite
def spoilt(draw: st.DrawFn) -> list[Body]:
    """A right stream in which some events are left out, said twice, moved, or not what they should be."""
    events = draw(st.sampled_from([stream, searching]))()
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(events) - 1))
        match draw(st.sampled_from(["drop", "twice", "swap", "change", "insert"])):
            case "drop" if len(events) > 1:
                del events[at]
            case "twice":
                events.insert(at, events[at])
            case "swap":
                other = draw(st.integers(0, len(events) - 1))
                events[at], events[other] = events[other], events[at]
            case "change":
                name = draw(st.sampled_from(sorted(events[at]) or ["type"]))
                events[at] = {**events[at], name: draw(anything)}
            case _:
                events.insert(at, draw(garbage))
    return events


streams = st.one_of(spoilt(), st.lists(garbage, max_size=12))
ends = st.sampled_from(["finish", "length", "fault", "cancel", "steer", "restore"])


def play(events: list[Body], end: str, *, obfuscate: bool) -> tuple[ResponseMachine, list[Event]]:
    machine = response_machine(obfuscate=obfuscate)
    out = machine.start()
    try:
        for event in events:
            out += machine.feed(PassthroughDelta(json.dumps(event).encode()))
        if end in {"finish", "length"}:
            out += machine.feed(Finish("stop" if end == "finish" else "length", Usage(5, 2, 7, 1)))
    except UpstreamFailed as error:
        assert not machine.ended
        return machine, out + machine.fault(error)
    if end == "restore":
        again = response_machine(obfuscate=obfuscate)
        again.restore([event.body for event in out])
        assert again.output == machine.output
        return again, out + again.cancel()
    if end == "steer" and machine.steerable:
        out += machine.feed(Steered())
    if not machine.ended:
        out += machine.fault(AntiphonError("Sorry.")) if end == "fault" else machine.cancel()
    return machine, out


@settings(max_examples=examples(200), deadline=None)
@given(streams, ends, st.booleans())
def test_any_stream_becomes_a_legal_one(events: list[Body], end: str, obfuscate: bool) -> None:
    machine, out = play(events, end, obfuscate=obfuscate)
    assert machine.ended
    assert [event.body["sequence_number"] for event in out] == list(range(len(out)))
    # What is newer than this is passed on, whatever it is: no rule is known for it.
    known = [event.body for event in out if _is_known(event)]
    for number, body in enumerate(known):
        body["sequence_number"] = number
    if known[-1]["response"]["status"] == "completed":
        # The published order asks for whole items; that a hosted tool has failed is for its server to say.
        known[-1]["response"]["output"] = output = json.loads(json.dumps(machine.output))
        for item in (*output, *(body["item"] for body in known if body["type"] == "response.output_item.done")):
            item["status"] = "completed"
    check_sequence(known)


def _is_known(event: Event) -> bool:
    lifecycle = {"response.created", "response.in_progress", "response.failed", *TERMINAL}
    return event.type in KINDS or event.type in lifecycle or event.type.startswith("response.web_search_call.")
