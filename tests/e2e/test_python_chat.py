"""The official Python SDK against the real server: Chat Completions in words, and the stored ones."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletion

from support.checking import Answers
from support.real import Server
from support.shallow import NAME as SMALL

SAID: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hello."}]
ASK: dict[str, Any] = {"model": "gpt-4o-mini", "messages": SAID, "max_completion_tokens": 16}


def text(completion: ChatCompletion) -> str:
    assert completion.choices[0].message.content is not None
    return completion.choices[0].message.content


def test_create(client: OpenAI) -> None:
    completion = client.chat.completions.create(**ASK)
    assert completion.model == SMALL
    assert text(completion)
    assert completion.usage is not None
    assert 0 < completion.usage.completion_tokens <= 16
    with pytest.raises(openai.NotFoundError):  # kept only where it is asked for
        client.chat.completions.retrieve(completion.id)


def test_stream(client: OpenAI) -> None:
    with client.chat.completions.create(**ASK, stream=True) as stream:
        chunks = list(stream)
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert sum(bool(piece) for piece in pieces) > 1, "the text came in one piece"
    assert all(chunk.usage is None for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")


def test_stream_with_usage(client: OpenAI) -> None:
    with client.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True}) as stream:
        *chunks, last = list(stream)
    assert all(chunk.usage is None for chunk in chunks)
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens > 0
    whole = client.chat.completions.create(**ASK).usage
    assert whole is not None
    assert last.usage.prompt_tokens == whole.prompt_tokens
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**ASK, stream_options={"include_usage": True})
    assert refused.value.param == "stream_options"


def test_stream_helper(coder_client: OpenAI) -> None:
    # Not cut off: the helper refuses to parse what is.
    with coder_client.chat.completions.stream(model="gpt-4o-mini", messages=SAID, temperature=0) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert text(final) == "".join(deltas) != ""


def test_async(small: Server, answers: Answers) -> None:
    async def main() -> None:
        async with answers.async_client(small) as client:
            # More than there are slots: the others wait their turn.
            completions = await asyncio.gather(*(client.chat.completions.create(**ASK) for _ in range(5)))
            assert all(text(completion) for completion in completions)
            assert len({completion.id for completion in completions}) == 5
            pieces = [
                chunk.choices[0].delta.content or ""
                async for chunk in await client.chat.completions.create(**ASK, stream=True)
            ]
            assert "".join(pieces)

    asyncio.run(main())


def test_choices(client: OpenAI) -> None:
    completion = client.chat.completions.create(**ASK, n=3, seed=1, temperature=1.5)
    assert [choice.index for choice in completion.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in completion.choices}) > 1, "all choices are the same"
    with client.chat.completions.create(**ASK, n=2, stream=True) as stream:
        seen = {choice.index for chunk in stream for choice in chunk.choices}
    assert seen == {0, 1}


def test_seed_repeats(client: OpenAI) -> None:
    def ask(seed: int) -> str:
        return text(client.chat.completions.create(**ASK, seed=seed, temperature=1.2))

    assert ask(7) == ask(7)
    assert len({ask(seed) for seed in range(4)}) > 1, "the seed changes nothing"


def test_stop(client: OpenAI) -> None:
    ask = {**ASK, "temperature": 0, "max_completion_tokens": 40}
    whole = text(client.chat.completions.create(**ask))
    words = whole.split()
    assert len(words) > 2, whole
    stop = words[2]
    cut = client.chat.completions.create(**ask, stop=[stop, "never said"])
    assert text(cut) == whole[: whole.index(stop)]
    assert cut.choices[0].finish_reason == "stop"
    with client.chat.completions.create(**ask, stop=stop, stream=True) as stream:
        streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert streamed == text(cut), "the stop sequence was let through while it was being made"


def test_logprobs_and_logit_bias(client: OpenAI) -> None:
    ask: dict[str, Any] = {**ASK, "temperature": 0, "logprobs": True, "top_logprobs": 2}
    choice = client.chat.completions.create(**ask).choices[0]
    assert choice.logprobs is not None
    assert choice.logprobs.content
    assert "".join(token.token for token in choice.logprobs.content) == choice.message.content
    first = choice.logprobs.content[0]
    assert first.top_logprobs[0].token == first.token, "at temperature 0 the likeliest is drawn"
    assert len(first.top_logprobs) == 2
    with client.chat.completions.create(**ask, stream=True) as stream:
        streamed = [
            token.token
            for chunk in stream
            if chunk.choices[0].logprobs is not None
            for token in chunk.choices[0].logprobs.content or []
        ]
    assert "".join(streamed) == choice.message.content

    # One token that must be drawn, whatever was said: the model's own numbers, so any will do.
    forced = client.chat.completions.create(**ASK, logit_bias={"100": 100}, temperature=0).choices[0].message.content
    assert forced
    other = client.chat.completions.create(**ASK, logit_bias={"200": 100}, temperature=0).choices[0].message.content
    assert forced != other
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**ASK, logit_bias={"999999": 1})
    assert refused.value.param == "logit_bias"


def test_max_tokens(client: OpenAI) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        asked: dict[str, Any] = {
            "model": "gpt-4o-mini",
            "messages": [{"role": "user", "content": "Tell a story."}],
            name: 5,
        }
        completion = client.chat.completions.create(**asked)
        assert completion.choices[0].finish_reason == "length"
        assert completion.usage is not None
        assert completion.usage.completion_tokens == 5


def test_too_long(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "word " * 3000}])
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "messages")


def test_stored_completions(client: OpenAI) -> None:
    made = [
        client.chat.completions.create(
            **{**ASK, "max_completion_tokens": 2}, store=True, metadata={"test": "stored", "number": str(number)}
        )
        for number in range(3)
    ]
    ids = [completion.id for completion in made]
    listed = list(client.chat.completions.list(metadata={"test": "stored"}, limit=2))
    assert [completion.id for completion in listed] == ids
    assert [text(completion) for completion in listed] == [text(completion) for completion in made]
    backwards = client.chat.completions.list(metadata={"test": "stored"}, order="desc", model=SMALL)
    assert [completion.id for completion in backwards] == ids[::-1]
    assert not client.chat.completions.list(metadata={"test": "stored"}, model="other").data
    page = client.chat.completions.list(metadata={"test": "stored"}, after=ids[0], limit=1)
    assert ([completion.id for completion in page.data], page.has_next_page()) == (ids[1:2], True)
    only = client.chat.completions.list(metadata={"test": "stored", "number": "2"})
    assert [completion.id for completion in only] == ids[2:]

    assert text(client.chat.completions.retrieve(ids[0])) == text(made[0])
    changed = client.chat.completions.update(ids[0], metadata={"test": "changed"})
    assert changed.id == ids[0]
    assert [completion.id for completion in client.chat.completions.list(metadata={"test": "changed"})] == ids[:1]

    messages = list(client.chat.completions.messages.list(ids[1], limit=1))
    assert [(message.role, message.content) for message in messages] == [
        (message["role"], message["content"]) for message in SAID
    ]
    assert list(client.chat.completions.messages.list(ids[1], order="desc")) == messages[::-1]

    client.chat.completions.delete(ids[0])
    for ask in (client.chat.completions.retrieve, client.chat.completions.delete):
        with pytest.raises(openai.NotFoundError):
            ask(ids[0])
    with client.chat.completions.create(**ASK, stream=True, store=True) as stream:
        streamed = [chunk.id for chunk in stream][-1]
    assert client.chat.completions.retrieve(streamed).id == streamed


def test_errors(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(**{**ASK, "model": "gpt-1"})
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(**{**ASK, "messages": [{"role": "user", "content": 5}]})
    assert wrong.value.param == "messages[0].content"
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    with pytest.raises(openai.BadRequestError) as picture:
        client.chat.completions.create(**{**ASK, "messages": [{"role": "user", "content": [part]}]})
    assert picture.value.param == "messages[0].content[0]"
