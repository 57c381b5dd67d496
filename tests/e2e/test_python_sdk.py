"""The official Python SDK against the real server: Responses in words. The small model speaks: wording is not judged.

Every answer is also held against the published specifications as it came over the socket (fixture `answers`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.responses import Response, ResponseOutputText

from support.checking import Answers
from support.long import LONG, begin, ends_as
from support.real import Server, wait_for
from support.shallow import NAME as SMALL

ASK: dict[str, Any] = {"model": "gpt-5-mini", "max_output_tokens": 16}
HELLO = {**ASK, "input": "Say hello."}
ORDERS = "You are Ada, who loves engines. " * 10


def text_part(response: Response) -> ResponseOutputText:
    message = response.output[0]
    assert message.type == "message"
    part = message.content[0]
    assert part.type == "output_text"
    return part


def with_async(server: Server, answers: Answers, ask: Callable[[AsyncOpenAI], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with answers.async_client(server) as client:
            await ask(client)

    asyncio.run(main())


def test_the_two_variables_are_enough(small: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in small.variables.items():
        monkeypatch.setenv(name, value)
    with OpenAI() as client:
        response = client.responses.create(**HELLO)
    assert response.output_text
    assert response.model == SMALL


def test_create(client: OpenAI) -> None:
    response = client.responses.create(**ASK, input="Say hello.", metadata={"who": "me"}, user="u", service_tier="auto")
    assert response.output_text == text_part(response).text != ""
    assert response.metadata == {"who": "me"}
    assert response.usage is not None
    assert 0 < response.usage.output_tokens <= 16
    assert client.responses.retrieve(response.id) == response


def test_async(small: Server, answers: Answers) -> None:
    async def ask(client: AsyncOpenAI) -> None:
        whole, streamed = await asyncio.gather(client.responses.create(**HELLO), collect(client))
        assert whole.output_text
        assert streamed == (await client.responses.retrieve(streamed.id))

    async def collect(client: AsyncOpenAI) -> Response:
        final: Response | None = None
        async for event in await client.responses.create(**HELLO, stream=True):
            if event.type in ("response.completed", "response.incomplete"):
                final = event.response
        assert final is not None
        return final

    with_async(small, answers, ask)


def test_async_stream_helper(coder: Server, answers: Answers) -> None:
    async def ask(client: AsyncOpenAI) -> None:
        async with client.responses.stream(model="gpt-5-mini", input="Say hello.", temperature=0) as stream:
            deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
            assert (await stream.get_final_response()).output_text == "".join(deltas) != ""

    with_async(coder, answers, ask)


def test_stream(client: OpenAI) -> None:
    kinds, pieces, final = [], [], None
    with client.responses.create(**HELLO, stream=True) as stream:
        for event in stream:
            kinds.append(event.type)
            if event.type == "response.output_text.delta":
                pieces.append(event.delta)
            elif event.type in ("response.completed", "response.incomplete"):
                final = event.response
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert len(pieces) > 1, "the text came in one piece"
    assert final is not None
    assert final.output_text == "".join(pieces)
    assert client.responses.retrieve(final.id) == final


def test_stream_helper(coder_client: OpenAI) -> None:
    # Not cut off: the helper knows no other end than "completed".
    ask: dict[str, Any] = {"model": "gpt-5-mini", "input": "Say hello.", "temperature": 0}
    with coder_client.responses.stream(**ask, stream_options={"include_obfuscation": False}) as stream:
        snapshots = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert final.output_text == snapshots[-1]


def test_a_client_that_stops_listening_leaves_a_cancelled_response(client: OpenAI) -> None:
    with begin(client, **LONG) as stream:
        begun = stream.response_id
    wait_for(lambda: client.responses.retrieve(begun).status != "in_progress", 10)
    ends_as(client, begun, "cancelled")


def test_a_conversation_goes_on(client: OpenAI) -> None:
    first = client.responses.create(**ASK, instructions=ORDERS, input="My name is Bob.")
    second = client.responses.create(**ASK, input="Go on.", previous_response_id=first.id)
    alone = client.responses.create(**ASK, input="Go on.")
    assert second.previous_response_id == first.id
    assert second.instructions is None
    assert tokens_in(second) > tokens_in(alone), "the model was not shown what came before"
    again = client.responses.create(**ASK, input="Go on.", previous_response_id=first.id, instructions=ORDERS)
    assert tokens_in(again) > tokens_in(second) + 50, "instructions are inherited, or not given"


def tokens_in(response: Response) -> int:
    assert response.usage is not None
    return response.usage.input_tokens


def test_items_are_listed_and_can_be_referred_to(client: OpenAI) -> None:
    first = client.responses.create(
        **ASK,
        input=[
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "input_text", "text": "Be kind."}]},
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": [{"type": "input_text", "text": "three"}, {"type": "input_text", "text": "3"}]},
        ],
    )
    newest_first = list(client.responses.input_items.list(first.id, limit=2))
    oldest_first = list(client.responses.input_items.list(first.id, order="asc"))
    assert newest_first == oldest_first[::-1]
    assert [getattr(item, "role", None) for item in oldest_first] == [
        "system",
        "developer",
        "user",
        "assistant",
        "user",
    ]
    page = client.responses.input_items.list(first.id, order="asc", after=oldest_first[1].id or "", limit=1)
    assert (page.data, page.has_more) == (oldest_first[2:3], True)

    spoken = first.output[0]
    assert spoken.id
    second = client.responses.create(
        **ASK, input=[{"type": "item_reference", "id": spoken.id}, {"role": "user", "content": "Again."}]
    )
    shown = list(client.responses.input_items.list(second.id, order="asc"))
    assert shown[0].id == spoken.id
    # An answer given back as input, as clients without state do it.
    replayed = client.responses.create(**ASK, input=[spoken.to_dict(), {"role": "user", "content": "Again."}])
    assert tokens_in(replayed) == tokens_in(second)


def test_store_false_keeps_nothing(client: OpenAI) -> None:
    response = client.responses.create(**HELLO, store=False)
    assert response.store is False
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(**HELLO, previous_response_id=response.id)
    assert refused.value.code == "previous_response_not_found"


def test_delete(client: OpenAI) -> None:
    response = client.responses.create(**HELLO)
    client.responses.delete(response.id)
    for ask in (client.responses.retrieve, client.responses.delete, client.responses.input_items.list):
        with pytest.raises(openai.NotFoundError) as refused:
            ask(response.id)
        assert refused.value.type == "invalid_request_error"


def test_logprobs(client: OpenAI) -> None:
    include: list[Any] = ["message.output_text.logprobs"]
    asked = client.responses.create(**HELLO, include=include, top_logprobs=3)
    part = text_part(asked)
    assert part.logprobs
    assert "".join(token.token for token in part.logprobs) == part.text
    for token in part.logprobs:
        assert bytes(token.bytes).decode("utf-8", "replace") == token.token
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 3
        best_first = [top.logprob for top in token.top_logprobs]
        assert best_first == sorted(best_first, reverse=True)
    with client.responses.stream(**HELLO, include=include, top_logprobs=1) as stream:
        deltas = [event for event in stream if event.type == "response.output_text.delta"]
    assert all(len(event.logprobs) > 0 for event in deltas if event.delta)
    assert not text_part(client.responses.create(**HELLO)).logprobs


def test_max_output_tokens_cuts_off(client: OpenAI) -> None:
    ask: dict[str, Any] = {"model": "gpt-5-mini", "input": "Tell a long story.", "max_output_tokens": 16}
    response = client.responses.create(**ask)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.usage is not None
    assert response.usage.output_tokens == 16
    message = response.output[0]
    assert message.type == "message"
    assert message.status == "incomplete"
    with client.responses.create(**ask, stream=True) as stream:
        assert [event.type for event in stream][-1] == "response.incomplete"


def test_a_conversation_that_does_not_fit(client: OpenAI) -> None:
    long = "word " * 450
    ask: dict[str, Any] = {
        **ASK,
        "input": [
            {"role": "user", "content": long},
            {"role": "assistant", "content": long},
            {"role": "user", "content": long},
            {"role": "assistant", "content": "Yes."},
            {"role": "user", "content": "And now?"},
        ],
    }
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(**ask)
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "input")
    assert "1024" in refused.value.message
    with pytest.raises(openai.BadRequestError) as streamed:
        client.responses.create(**ask, stream=True)
    assert streamed.value.code == "context_length_exceeded"
    kept = client.responses.create(**ask, truncation="auto")
    assert kept.truncation == "auto"
    assert 400 < tokens_in(kept) < 1024, "as much as fits is kept"
    # The last message alone is too long: nothing can be dropped.
    with pytest.raises(openai.BadRequestError):
        client.responses.create(**ASK, input=long * 4, truncation="auto")


def test_a_chain_that_no_longer_fits_is_cut_only_where_asked(client: OpenAI) -> None:
    long = "word " * 520
    first = client.responses.create(**ASK, input=long)
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(**ASK, input=long, previous_response_id=first.id)
    assert refused.value.code == "context_length_exceeded"
    cut = client.responses.create(**ASK, input=long, previous_response_id=first.id, truncation="auto")
    assert tokens_in(cut) < tokens_in(first) + 20


def test_temperature_zero_repeats(client: OpenAI) -> None:
    answers = {client.responses.create(**HELLO, temperature=0).output_text for _ in range(2)}
    assert len(answers) == 1


def test_headers(client: OpenAI) -> None:
    raw = client.responses.with_raw_response.create(**HELLO, extra_headers={"X-Client-Request-Id": "mine-1"})
    assert raw.headers["x-request-id"] == raw.request_id
    assert int(raw.headers["openai-processing-ms"]) > 0
    assert raw.parse().output_text
    with client.responses.with_streaming_response.create(**HELLO) as streaming:
        assert streaming.parse().output_text


def test_models(client: OpenAI) -> None:
    listed = {model.id: model for model in client.models.list()}
    assert set(listed) == {SMALL, "gpt-5-mini", "gpt-5-nano", "gpt-4o-mini"}
    for name, model in listed.items():
        assert client.models.retrieve(name) == model
        assert client.responses.create(**{**HELLO, "model": name}).model == SMALL
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-1")


def test_errors_are_the_sdks_own(client: OpenAI, small: Server, answers: Answers) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.responses.create(**{**HELLO, "model": "gpt-1"})
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as wrong:
        client.responses.create(**HELLO, temperature=3)
    assert wrong.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as odd:
        client.responses.create(**HELLO, extra_body={"colour": "red"})
    assert (odd.value.code, odd.value.param) == ("unknown_parameter", "colour")
    picture = {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,AAAA"}
    shown: Any = [{"role": "user", "content": [picture]}]
    with pytest.raises(openai.BadRequestError) as image:
        client.responses.create(**ASK, input=shown)
    assert image.value.param == "input[0].content[0]"
    with pytest.raises(openai.BadRequestError) as later:
        client.responses.create(**HELLO, background=True, store=False)
    assert later.value.param == "store"
    with pytest.raises(openai.AuthenticationError) as stranger:
        client.with_options(api_key="sk-antiphon-wrong").models.list()
    assert stranger.value.code == "invalid_api_key"
    assert unknown.value.request_id is not None
