"""Compaction: a conversation that has grown too long is summarised by its own model, and sealed into an item."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import msgspec

from antiphon.domain import limits
from antiphon.domain.errors import ContextLengthExceeded, EngineFailed, InvalidRequest, Overloaded
from antiphon.domain.ids import new_id
from antiphon.domain.sealing import Sealer
from antiphon.ports import Engine
from antiphon.protocol.generation import Delta, Finish, Generation, Message, TextDelta, TextPart, Turn, Usage
from antiphon.protocol.refusals import Unserved
from antiphon.protocol.responses import compaction as rules
from antiphon.protocol.responses import items as item_rules
from antiphon.protocol.responses.compaction import Compacted, CompactionPolicy, Json, Placed
from antiphon.protocol.responses.item_types import paired
from antiphon.protocol.responses.table import ItemDelta
from antiphon.protocol.streams import Stream as DeltaStream
from antiphon.protocol.suffix import longest_suffix_that_fits
from antiphon.run.context import room

#: Makes a generation of turns, and the answer's of what is shown.
Build = Callable[[Sequence[Turn]], Generation]
Rest = Callable[[Sequence[Placed]], Awaitable[Generation]]
#: What a response's machine is fed, and notes of progress.
Stream = AsyncGenerator[Delta | ItemDelta, None]

#: Between two tries to get a place in the engine's queue, and how many there are (seconds, count).
_PATIENCE = 0.5
_TRIES = 60
#: Characters of a token, for a first guess of how much text fits.
_CHARS_PER_TOKEN = 4


def turns_of(places: Sequence[Placed], *, lenient: bool = False) -> list[Turn]:
    """Items as the model is shown them. `lenient`: without those that no model of ours can be shown."""
    pairs = paired(place.item for place in places)
    turns: list[Turn] = []
    for item, path, number, _ in places:
        try:
            turns += item_rules.turns([item], path=path, offset=number, pairs=pairs)
        except Unserved:
            if not lenient:
                raise
    return turns


@dataclass(frozen=True, slots=True)
class Summary:
    """A summary, and what it cost."""

    text: str
    usage: Usage


class Compactor:
    """Opens compaction items, and decides when to make one."""

    def __init__(self, sealer: Sealer) -> None:
        self.sealer = sealer

    def window(self, project_id: str, places: Sequence[Placed]) -> list[Placed]:
        """What of a conversation is shown (see `protocol.responses.compaction.window`)."""
        return rules.window(places, lambda sealed: self.sealer.open(project_id, rules.PURPOSE, sealed))

    def seal(self, project_id: str, content: Compacted) -> Json:
        """A new compaction item. Raises `InvalidRequest` if its content is more than a client could send back."""
        sealed = self.sealer.seal(project_id, rules.PURPOSE, msgspec.json.encode(content))
        if len(sealed) > limits.MAX_SEALED:
            raise InvalidRequest(
                "The latest items of this conversation are too large to be compacted.", code="compaction_too_large"
            )
        return rules.item(new_id("cmp_"), sealed)

    async def plan(
        self,
        project_id: str,
        engine: Engine,
        policy: CompactionPolicy,
        places: Sequence[Placed],
        users: list[Json],
        *,
        build: Build,
        rest: Rest,
    ) -> Compaction | None:
        """What is to be compacted before the answer, or None if nothing is.

        `places` are shown now, `users` are all of the user's messages, shown or not. `rest` makes the generation of the
        answer from what is shown then.
        """
        whole = build(turns_of(places))
        orders = [place.item for place in places if rules.is_order(place.item)]
        said = [place for place in places if not rules.is_order(place.item)]
        if policy.now:
            if not said:
                raise InvalidRequest("There is nothing to compact.", code="invalid_value", param="input")
            head, kept = said, []
        else:
            most = room(engine, whole)
            threshold = most if policy.at is None else min(policy.at, most)
            if await engine.count_tokens(whole) <= threshold:
                return None
            cut = await _cut(engine, said, build, threshold // 2)
            # The words that are to be answered are never only summarised.
            asked = [] if _users(said[cut:]) else [place.item for place in _users(said[:cut])[-1:]]
            head, kept = said[:cut], [*asked, *(place.item for place in said[cut:])]
            if len(head) <= len(asked):
                return None
        instructions = "\n\n".join(
            turn.text for turn in whole.turns if isinstance(turn, Message) and turn.role in {"system", "developer"}
        )
        return Compaction(
            compactor=self,
            project_id=project_id,
            engine=engine,
            users=users,
            head=head,
            orders=orders,
            kept=kept,
            alone=policy.now,
            instructions=instructions,
            rest=rest,
        )


@dataclass(frozen=True, slots=True)
class Compaction:
    """One compaction that is to be made. `alone`: nothing is to be answered after it."""

    compactor: Compactor
    project_id: str
    engine: Engine
    users: list[Json]
    head: list[Placed]
    orders: list[Json]
    kept: list[Json]
    alone: bool
    instructions: str
    rest: Rest

    async def begin(self, *, track: bool) -> Stream:
        """Admit the summary. The stream is the item, then the answer over what is shown with it; the usage is of both.

        Raises what the engine raises. `track` is the answer's (see `Generation`).
        """
        summariser = self._summariser()
        await summariser.begin()
        return _Owning(self._stream(summariser, track=track), summariser)

    async def make(self) -> tuple[Json, Usage]:
        """The item alone, and what it cost. Raises what the engine raises."""
        summariser = self._summariser()
        await summariser.begin()
        try:
            return await self._item(summariser)
        finally:
            await summariser.aclose()

    def _summariser(self) -> Summariser:
        return Summariser(self.engine, rules.transcript(turns_of(self.head)), self.instructions)

    async def _item(self, summariser: Summariser) -> tuple[Json, Usage]:
        summary = await summariser.run()
        quotes = await _quotes(self.engine, self.head) if self.alone else []
        content = Compacted(summary.text, self.orders, quotes, self.kept)
        return self.compactor.seal(self.project_id, content), summary.usage

    async def _stream(self, summariser: Summariser, *, track: bool) -> Stream:
        item, usage = await self._item(summariser)
        yield ItemDelta(item)
        if self.alone:
            yield Finish("stop", usage)
            return
        places = self.compactor.window(self.project_id, rules.placed([item], "input"))
        generation = msgspec.structs.replace(await self.rest(places), track=track)
        async with aclosing(await _patiently(lambda: self.engine.generate(generation))) as deltas:
            async for delta in deltas:
                yield Finish(delta.reason, usage.plus(delta.usage), delta.tier) if isinstance(delta, Finish) else delta


class _Owning(DeltaStream[Delta | ItemDelta]):
    """The stream of a compaction: closing it frees what was admitted, whether it was begun or not."""

    def __init__(self, inner: Stream, summariser: Summariser) -> None:
        self._inner = inner
        self._summariser = summariser

    async def __anext__(self) -> Delta | ItemDelta:
        return await self._inner.__anext__()

    async def aclose(self) -> None:
        """End it now."""
        try:
            await self._inner.aclose()
        finally:
            await self._summariser.aclose()


async def ended() -> Stream:
    """The rest of a response that only had to be compacted, and was, before it was interrupted."""
    yield Finish("stop", Usage())


# --- where to cut -----------------------------------------------------------------------------------------------------
async def _cut(engine: Engine, said: Sequence[Placed], build: Build, most: int) -> int:
    """The position from which items are kept as they are: the last user's message, or a later one if that is too much.

    `most`: input tokens that may be kept.
    """
    users = [at for at, place in enumerate(said) if rules.is_users(place.item) and not place.summary]
    starts = [at for at in rules.boundaries(said) if at >= (users[-1] if users else 0)]

    async def fits(number: int) -> bool:
        return await engine.count_tokens(build(turns_of(said[starts[number] :]))) <= most

    return starts[await longest_suffix_that_fits(len(starts) - 1, fits)] if starts else 0


def _users(places: Sequence[Placed]) -> list[Placed]:
    return [place for place in places if rules.is_users(place.item) and not place.summary]


async def _quotes(engine: Engine, head: Sequence[Placed]) -> list[str]:
    """The user's latest messages that fit into an eighth of the context, in their own words."""
    texts = [rules.user_text(place.item) for place in _users(head)]
    most = rules.summary_tokens(engine.capabilities.context_tokens)

    async def fits(number: int) -> bool:
        text = "\n".join(texts[number:])
        return len(text) <= most * _CHARS_PER_TOKEN * 4 and await engine.count_tokens(_only(engine, text)) <= most

    return texts[await longest_suffix_that_fits(len(texts), fits) :]


def _only(engine: Engine, text: str) -> Generation:
    return Generation(engine.name, (Message("user", (TextPart(text),)),))


# --- the summary ------------------------------------------------------------------------------------------------------
class Summariser:
    """Has a model summarise a conversation; a long one in pieces, each with the summary of those before it."""

    def __init__(self, engine: Engine, text: str, instructions: str) -> None:
        self._engine = engine
        self._text = text
        self._instructions = instructions
        self._most = rules.summary_tokens(engine.capabilities.context_tokens)
        self._at = 0
        self._summary = ""
        self._deltas: AsyncGenerator[Delta, None] | None = None

    async def begin(self) -> None:
        """Admit the first piece.

        Raises what the engine raises, and `ContextLengthExceeded` for a conversation of too many pieces.
        """
        self._deltas = await self._next()

    async def run(self) -> Summary:
        """The summary. Once, after `begin`."""
        usage = Usage()
        for _ in range(limits.MAX_SUMMARY_PIECES):
            assert self._deltas is not None
            self._summary, cost = await _read(self._deltas)
            usage = usage.plus(cost)
            if self._at >= len(self._text):
                return Summary(self._summary, usage)
            self._deltas = await _patiently(self._next)
        raise self._too_long()

    async def aclose(self) -> None:
        """Free what was admitted."""
        if self._deltas is not None:
            await self._deltas.aclose()

    async def _next(self) -> AsyncGenerator[Delta, None]:
        """The engine's stream for the next piece."""
        space = self._engine.capabilities.context_tokens - self._most
        # No more than could be summarised at all is ever copied or counted.
        rest = self._text[self._at : self._at + space * _CHARS_PER_TOKEN]
        size = await _fitting(self._engine, rest, self._ask, space)
        if len(self._text) - self._at > size * limits.MAX_SUMMARY_PIECES:
            raise self._too_long()
        deltas = await self._engine.generate(self._ask(rest[:size]))
        self._at += size
        return deltas

    def _ask(self, piece: str) -> Generation:
        return rules.request_for_summary(
            self._engine.name, self._summary, piece, instructions=self._instructions, max_tokens=self._most
        )

    def _too_long(self) -> ContextLengthExceeded:
        return ContextLengthExceeded(
            f"The conversation is too long to be compacted: its {len(self._text)} characters would take more than "
            f"{limits.MAX_SUMMARY_PIECES} pieces of this model's context of "
            f"{self._engine.capabilities.context_tokens} tokens."
        )


async def _fitting(engine: Engine, text: str, ask: Callable[[str], Generation], space: int) -> int:
    """How many characters of the text to take, so that the request for their summary fits into `space` tokens."""
    size = rules.piece_end(text, space * _CHARS_PER_TOKEN)
    while True:
        tokens = await engine.count_tokens(ask(text[:size]))
        if tokens <= space:
            return size
        size = rules.piece_end(text, size * space * 9 // (tokens * 10))
        if size < 1:
            raise ContextLengthExceeded(
                f"This model's context of {engine.capabilities.context_tokens} tokens is too small for a summary of "
                "the conversation with these instructions."
            )


async def _read(stream: AsyncGenerator[Delta, None]) -> tuple[str, Usage]:
    pieces: list[str] = []
    usage = Usage()
    async with aclosing(stream) as deltas:
        async for delta in deltas:
            if isinstance(delta, TextDelta):
                pieces.append(delta.text)
            elif isinstance(delta, Finish):
                usage = delta.usage
    text = "".join(pieces).strip()
    if not text:
        raise EngineFailed("The model gave no summary of the conversation.", code="compaction_failed")
    return text, usage


async def _patiently(admit: Callable[[], Awaitable[AsyncGenerator[Delta, None]]]) -> AsyncGenerator[Delta, None]:
    """An engine's stream. A full queue is waited for: the response that needs this was admitted before."""
    for _ in range(_TRIES):
        try:
            return await admit()
        except Overloaded:
            await asyncio.sleep(_PATIENCE)
    return await admit()
