"""An answer that is held back until it is known to be what it must be."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from antiphon.domain.errors import OutputInvalid
from antiphon.protocol.generation import CallArguments, CallStart, Delta, Finish, RefusalDelta, TextDelta


@dataclass(slots=True)
class HeldAnswer:
    """The deltas that were held back, and what they amount to: texts, calls with their arguments, the end.

    `refused`: the model has refused to answer.
    """

    deltas: list[Delta] = field(default_factory=list)
    texts: list[TextDelta] = field(default_factory=list)
    calls: list[tuple[CallStart, list[str]]] = field(default_factory=list)
    refused: bool = False
    finish: Finish = field(default_factory=lambda: Finish("stop"))

    def take(self, delta: Delta) -> None:
        """Hold one more. Raises `OutputInvalid` for arguments that belong to no call."""
        self.deltas.append(delta)
        match delta:
            case TextDelta():
                self.texts.append(delta)
            case RefusalDelta():
                self.refused = True
            case CallStart():
                self.calls.append((delta, []))
            case CallArguments():
                if not self.calls:
                    raise OutputInvalid("The model gave arguments without a call.")
                self.calls[-1][1].append(delta.text)
            case Finish():
                self.finish = delta

    def is_unmet(self) -> None:
        """Mark the answer as one that does not fit its schema, and need not."""
        self.finish = msgspec.structs.replace(self.finish, unmet=True)

    @property
    def text(self) -> str:
        """All of its text."""
        return "".join(delta.text for delta in self.texts)
