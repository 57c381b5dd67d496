"""Which tool call a piece of a chat stream belongs to. Sans-IO.

By its id; else by its index; else it goes on with the last call. A name after complete arguments begins a new call,
whatever id and index say: servers use both again.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from antiphon.domain import limits
from antiphon.domain.ids import new_id
from antiphon.engines.upstream import errors
from antiphon.engines.upstream.chat.chunks import Call, arguments_of, name_of
from antiphon.protocol.balance import Balance


@dataclass(slots=True)
class OpenCall:
    """A call whose pieces are coming.

    `number`: its place among the calls; `waiting`: pieces that were not passed on yet.
    """

    number: int
    name: str = ""
    #: As the server calls it; empty if it has not said.
    theirs: str = ""
    #: As the client knows it.
    call_id: str = ""
    custom: bool = False
    started: bool = False
    waiting: list[str] = field(default_factory=list)
    balance: Balance = field(default_factory=Balance)
    #: All arguments, while they are short: what is said again word for word is one call.
    head: str = ""

    @property
    def complete(self) -> bool:
        """Whether its arguments are whole."""
        return not self.custom and self.balance.complete


class CallPlacement:
    """Puts pieces to calls, which it numbers in the order in which they begin."""

    def __init__(self, tools: Collection[str] = ()) -> None:
        """`tools`: names that calls may have, as far as they are known; some servers say a name in pieces."""
        self._tools = tools
        self.open: list[OpenCall] = []
        self._by_id: dict[str, OpenCall] = {}
        self._by_index: dict[int, OpenCall] = {}
        self._ids: set[str] = set()

    def place(self, call: Call) -> tuple[OpenCall, str] | None:
        """The call that a piece belongs to, and its new arguments; None for a call that is only said again.

        Raises `UpstreamFailed` for more calls than an answer has.
        """
        name, text = name_of(call) or "", arguments_of(call)
        opened = self._find(call, name, text)
        if opened is not None and name and opened.complete and text.strip():
            if call.id and call.id == opened.theirs and (name, text) == (opened.name, opened.head):
                return None
            opened = None
        if opened is None:
            opened = self._open_call(call)
        self._add(opened, call, name, text)
        return opened, text

    @property
    def cut_off(self) -> bool:
        """Whether the arguments of some call end in the middle."""
        return any(call.balance.cut_off and not call.custom for call in self.open)

    def settled(self, call: OpenCall) -> bool:
        """Whether no more of the call's name can come: its arguments have begun, or it is the name of a tool."""
        if not call.name:
            return False
        if call.balance.began or (call.custom and call.waiting):
            return True
        others = (tool for tool in self._tools if tool != call.name and tool.startswith(call.name))
        return next(others, None) is None and (not self._tools or call.name in self._tools)

    def _find(self, call: Call, name: str, text: str) -> OpenCall | None:
        """The call that this piece says it belongs to; None: a new one."""
        by_index = self._by_index.get(call.index) if call.index is not None else None
        if call.id:
            known = self._by_id.get(call.id)
            if known is not None:
                return known
            nameless = by_index or (self._last() if call.index is None else None)
            if nameless is not None and (not name or not nameless.theirs):
                return self._going_on(nameless, name, text)
            return None
        if call.index is None or by_index is None:
            last = self._last()
            if call.index is not None and (name or last is None or not last.name):
                return None
            return self._going_on(last, name, text) if last is not None else None
        return self._going_on(by_index, name, text)

    def _going_on(self, known: OpenCall, name: str, text: str) -> OpenCall | None:
        """`known`, unless a piece with this name must be another call's."""
        if not name or not known.name or name == known.name:
            return known
        if known.balance.began:
            # The name of another tool, in the middle of arguments or after them.
            return known if not known.complete and name not in self._tools and self._tools else None
        whole = self._joined(known.name, name)
        if self._tools and known.name in self._tools and name in self._tools and whole not in self._tools:
            return None
        return known

    def _joined(self, name: str, more: str) -> str:
        """A name of which another piece has come. Some servers say again what they have said of it."""
        if more == name and name + more not in self._tools:
            return name
        return more if more.startswith(name) else name + more

    def _open_call(self, call: Call) -> OpenCall:
        if len(self.open) >= limits.MAX_UPSTREAM_CALLS:
            raise errors.invalid("more tool calls than an answer has")
        opened = OpenCall(len(self.open))
        self.open.append(opened)
        if call.index is not None:
            self._by_index[call.index] = opened
        return opened

    def _add(self, opened: OpenCall, call: Call, name: str, text: str) -> None:
        if call.id and not opened.theirs:
            opened.theirs = call.id
            self._by_id[call.id] = opened
            if call.id not in self._ids and not opened.call_id:
                opened.call_id = call.id
                self._ids.add(call.id)
        if name and not opened.started and not opened.balance.began:
            opened.name = self._joined(opened.name, name) if opened.name else name
        elif not opened.name:
            opened.name = name
        opened.custom = opened.custom or call.custom is not None
        if text:
            opened.waiting.append(text)
            opened.balance.feed(text)
            if len(opened.head) < limits.MAX_TOOL_CALL_COMPARED:
                opened.head += text

    def _last(self) -> OpenCall | None:
        return self.open[-1] if self.open else None

    def start(self, call: OpenCall) -> None:
        """The client gets to know of the call: from now on, it has an id of its own."""
        call.started = True
        if not call.call_id:
            call.call_id = new_id("call_")
            self._ids.add(call.call_id)
