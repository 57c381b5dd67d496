"""The stream of one upstream's answer: from batches of events to deltas."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from antiphon.domain import limits
from antiphon.domain.errors import AntiphonError
from antiphon.engines.upstream.dialect import AnswerParser
from antiphon.engines.upstream.reply import Reply
from antiphon.engines.upstream.usage import OutputMeter
from antiphon.protocol.generation import Batch, Delta, Finish
from antiphon.protocol.streams import Stream

_DONE = b"[DONE]"
#: Bytes of an event that may be the mark of the end, however it is written.
_SHORT = 16


class AnswerStream(Stream[Delta]):
    """The deltas of one answer. Whatever way it ends, its connection is given back or closed."""

    def __init__(
        self,
        reply: Reply,
        parser: AnswerParser,
        meter: OutputMeter,
        released: Callable[[AnswerStream], None],
        *,
        ends_with_last_event: bool,
        batches: bool,
    ) -> None:
        """`meter`: measures what `parser` reads. `released` is called when the stream is over.

        `ends_with_last_event`: see `Dialect`. `batches`: deltas that come at once are given as one `Batch`.
        """
        self._reply = reply
        self._parser = parser
        self._meter = meter
        self._begun = False
        #: Events since the server has said why it ended.
        self._after = 0
        self._released = released
        self._ends_with_last_event = ends_with_last_event
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
            await self._read()
            if self._ends_with_last_event and not self._over and self._parser.finished:
                self._reply.done()
                self._end(done=True)
        if self._batches and len(pending) > 1:
            return self._batch()
        return pending.popleft()

    def _batch(self) -> Delta:
        """All deltas that are there, without the `Finish`, as one."""
        pending = self._pending
        finish = pending.pop() if isinstance(pending[-1], Finish) else None
        batch: Delta = pending[0] if len(pending) == 1 else Batch(tuple(pending))  # type: ignore[arg-type]
        pending.clear()
        if finish is not None:
            pending.append(finish)
        return batch

    async def _read(self) -> None:
        """Wait for more, and parse it. An error is kept until the deltas that came before it were given."""
        reply = self._reply
        try:
            if not self._begun:
                self._begun = True
                await reply.detect_kind()
            if not reply.streamed:
                self._pending.extend(self._parser.whole(await reply.body()))
                self._end()
                return
            parser = self._parser
            for name, data in await reply.__anext__():
                if len(data) <= _SHORT and self._is_control(name, data):
                    if self._over:
                        return
                    continue
                self._pending.extend(parser.feed(data, name))
                if parser.finished and self._has_ended():
                    return
        except StopAsyncIteration:
            self._end()
        except AntiphonError as error:
            if self._parser.finished:
                self._end()  # only its usage is missing
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
        """The answer has ended. `done`: by the mark that ends it, so that the connection may be used again."""
        try:
            self._pending.extend(self._parser.finish())
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
        """End it now: waiting for more raises `UpstreamFailed`."""
        self._reply.abort()

    async def aclose(self) -> None:
        """End the generation now: the upstream stops when its connection is closed."""
        self._pending.clear()
        self._error = None
        if not self._over:
            self._close()
