"""The `Engine` port over any server that speaks Chat Completions."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Any

from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError
from antiphon.domain.routing import Deadlines
from antiphon.engines.schemas.worker import SchemaWorker
from antiphon.engines.upstream import tokens
from antiphon.engines.upstream.chat import request as chat_request
from antiphon.engines.upstream.chat import token_count
from antiphon.engines.upstream.chat.answer import AnswerParser, ChatParser
from antiphon.engines.upstream.chat.passthrough import ChatPassthroughParser
from antiphon.engines.upstream.client import UpstreamClient
from antiphon.engines.upstream.enforced import Enforced
from antiphon.engines.upstream.loose import Loose, in_shared_words
from antiphon.engines.upstream.profiles import Profile, profile_named
from antiphon.engines.upstream.reply import Reply
from antiphon.engines.upstream.usage import OutputMeter
from antiphon.ports import Capabilities
from antiphon.protocol.chat.request import check_neutral
from antiphon.protocol.generation import Batch, Delta, Finish, Generation, Passthrough
from antiphon.protocol.streams import Stream

_PATH = "/chat/completions"
_DONE = b"[DONE]"
#: Bytes of an event that may be the mark of the end, however it is written.
_SHORT = 16


class ChatStream(Stream[Delta]):
    """The deltas of one answer. Whatever way it ends, its connection is given back or closed."""

    def __init__(
        self,
        reply: Reply,
        answer: AnswerParser,
        meter: OutputMeter,
        released: Callable[[ChatStream], None],
        *,
        batches: bool = False,
    ) -> None:
        """`meter`: what `answer` says. `batches`: deltas that come at once are given at once."""
        self._reply = reply
        self._answer = answer
        self._meter = meter
        self._begun = False
        #: Events since the server has said why it ended.
        self._after = 0
        self._released = released
        self._batches = batches
        self._pending: deque[Delta] = deque()
        self._over = False
        self._error: AntiphonError | None = None

    async def __anext__(self) -> Delta:
        pending = self._pending
        while not pending:
            if self._over:
                error, self._error = self._error, None
                if error is not None:
                    raise error
                raise StopAsyncIteration
            await self._more()
        if self._batches and len(pending) > 1:
            return self._batch()
        return pending.popleft()

    def _batch(self) -> Delta:
        """All that is there, but for the `Finish`."""
        pending = self._pending
        finish = pending.pop() if isinstance(pending[-1], Finish) else None
        batch: Delta = pending[0] if len(pending) == 1 else Batch(tuple(pending))  # type: ignore[arg-type]
        pending.clear()
        if finish is not None:
            pending.append(finish)
        return batch

    async def _more(self) -> None:
        """Take what has come. Errors are kept until all that came before them was given."""
        reply = self._reply
        try:
            if not self._begun:
                self._begun = True
                await reply.begin()
            if not reply.streamed:
                self._pending.extend(self._answer.whole(await reply.body()))
                self._end()
                return
            answer = self._answer
            for name, data in await reply.__anext__():
                if len(data) <= _SHORT and self._is_control(name, data):
                    if self._over:
                        return
                    continue
                self._pending.extend(answer.feed(data, name))
                if answer.finished and self._has_ended():
                    return
        except StopAsyncIteration:
            self._end()
        except AntiphonError as error:
            if self._answer.finished:
                self._end()  # all was said but what it cost
            else:
                self._fail(error)
        except BaseException:
            self._close()
            raise

    def _is_control(self, name: str, data: bytes) -> bool:
        """Whether an event is no part of the answer: its mark of the end, or nothing, to keep the stream alive."""
        data = data.strip()
        if data.upper() == _DONE:
            self._reply.done()
            self._end(done=True)
            return True
        return not data and name != "error"

    def _has_ended(self) -> bool:
        """Whether nothing more is waited for, once the server has said why it ended: only its usage may still come."""
        self._after += 1
        self._reply.hurry()
        if not self._meter.too_much and self._after <= limits.UPSTREAM_EVENTS_AFTER:
            return False
        self._end()
        return True

    def _end(self, *, done: bool = False) -> None:
        """`done`: the server has ended the stream in so many words, and the connection may be used again."""
        try:
            self._pending.extend(self._answer.finish())
        except AntiphonError as error:
            self._fail(error)
            return
        self._over = True
        if not done:
            self._reply.close()
        self._released(self)

    def _fail(self, error: AntiphonError) -> None:
        self._error = error
        self._close()

    def _close(self) -> None:
        self._over = True
        self._reply.close()
        self._released(self)

    def stop(self) -> None:
        """End it now, also for whoever is waiting for more."""
        self._reply.abort()

    async def aclose(self) -> None:
        """End the generation now: the upstream stops when its connection is closed."""
        self._pending.clear()
        self._error = None
        if not self._over:
            self._close()


class LooseChat(Loose):
    """What the server says, as it says it: it may not be what it was asked for. See `ports.Engine`."""

    def __init__(
        self,
        client: UpstreamClient,
        model: str | None,
        *,
        name: str | None,
        profile: Profile,
        deadlines: Deadlines,
        context_tokens: int | None,
    ) -> None:
        super().__init__(client, model, name=name, profile=profile, deadlines=deadlines)
        self.capabilities = Capabilities(
            context_tokens=context_tokens or limits.UPSTREAM_CONTEXT,
            images=profile.images,
            files=profile.files,
            audio=profile.audio,
            logprobs=profile.logprobs,
            logit_bias=profile.logit_bias,
            constrains=False,
            passes_extra=profile.extra,
            passthrough=frozenset({"chat"}),
        )

    async def check(self, generation: Generation) -> None:
        """Raise what can be told without asking the upstream."""
        self._body(generation)

    async def count_tokens(self, generation: Generation) -> int:
        """As the server counts them, or estimated."""
        return await token_count.count(generation, self._client, self._profile, self._model_of(generation))

    async def generate(self, generation: Generation) -> AsyncGenerator[Delta, None]:
        """Ask in our words, and translate the answer."""
        body = self._body(generation)
        with in_shared_words():
            reply = await self._post(_PATH, body, streamed=generation.streamed)
        meter = tokens.counted(generation, self.capabilities.context_tokens)
        return self._stream(generation, reply, self._neutral(generation, meter), meter)

    async def relay(self, generation: Generation, passthrough: Passthrough) -> AsyncGenerator[Delta, None]:
        """Ask in the client's own words, and pass on the answer."""
        given = passthrough.body
        model = self._model_of(generation)
        body = chat_request.passthrough_body(given, self._profile, model, streamed=generation.streamed)
        reply = await self._post(_PATH, body, streamed=generation.streamed)
        meter = tokens.counted(generation, self.capabilities.context_tokens)
        if reply.streamed and not generation.streamed:
            # A server that streams whatever it is asked for: its chunks must become one answer.
            return self._stream(generation, reply, self._neutral(generation, meter), meter)
        shown = generation.streamed and bool((given.get("stream_options") or {}).get("include_usage"))
        answer = ChatPassthroughParser(
            self._client.scrubber,
            meter,
            show_usage=shown,
            streamed=generation.streamed,
            model=self.name,
            tools=[tool.name for tool in generation.tools],
        )
        return self._stream(generation, reply, answer, meter)

    def _body(self, generation: Generation) -> dict[str, Any]:
        return chat_request.body_of(generation, self._profile, self._model_of(generation))

    def _neutral(self, generation: Generation, meter: OutputMeter) -> ChatParser:
        disguised: list[str] = []
        if not self._profile.custom_tools:
            disguised = [tool.name for tool in generation.tools if tool.kind == "custom"]
        names = [tool.name for tool in generation.tools]
        return ChatParser(self._client.scrubber, meter, disguised, names)

    def _stream(self, generation: Generation, reply: Reply, answer: AnswerParser, meter: OutputMeter) -> ChatStream:
        stream = ChatStream(
            reply,
            answer,
            meter,
            self._streams.discard,
            batches=generation.batches,
        )
        self._streams.add(stream)
        return stream


class ChatEngine(Enforced[LooseChat]):
    """One model of one upstream. What its kind of server does not keep to by itself is enforced here."""

    def __init__(
        self,
        client: UpstreamClient,
        model: str | None,
        *,
        name: str | None = None,
        profile: Profile | None = None,
        deadlines: Deadlines = Deadlines(),  # noqa: B008  (it is immutable)
        context_tokens: int | None = None,
        worker: SchemaWorker | None = None,
    ) -> None:
        """`model`: the upstream's name for it; None: as each generation says. `name`: as answers show it.

        `profile`: None for the one that the client's upstream names. `worker` checks schemas; engines may share one.
        Raises `SetupError` for a profile that does not exist.
        """
        profile = profile or profile_named(client.spec.profile)
        loose = LooseChat(client, model, name=name, profile=profile, deadlines=deadlines, context_tokens=context_tokens)
        super().__init__(loose, profile, worker)

    async def generate(self, generation: Generation) -> AsyncGenerator[Delta, None]:
        """Ask the upstream: see the port. Raises also what `UpstreamClient.post` does, while awaited or iterated."""
        passthrough = self._relayed(generation)
        if passthrough is not None:
            return await self._loose.relay(generation, passthrough)
        return await self._translating(generation).generate(generation)

    async def check(self, generation: Generation) -> None:
        """Raise what can be told without asking the upstream."""
        if self._relayed(generation) is None:
            await self._translating(generation).check(generation)

    def _relayed(self, generation: Generation) -> Passthrough | None:
        """The client's own words, if they can be sent on; or raise `InvalidRequest` for what only they can say."""
        passthrough = generation.passthrough
        if passthrough is None or passthrough.surface != "chat":
            return None
        if passthrough.only:
            return passthrough
        if (
            self._profile.keeps(generation)
            and chat_request.speaks(passthrough.body, self._profile)
            and chat_request.takes_content(generation, self._profile)
        ):
            return passthrough
        check_neutral(dict(passthrough.body))
        return None
