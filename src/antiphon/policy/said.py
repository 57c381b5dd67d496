"""How much an answer has said so far: counts, and a sample of it, however long it is."""

from __future__ import annotations

from antiphon.domain import limits
from antiphon.models.tokens import Counter
from antiphon.protocol import estimate

_counter = Counter()


class Said:
    """What an answer that is broken off is estimated by."""

    __slots__ = ("_room", "_sample", "pieces", "units")

    def __init__(self) -> None:
        #: Pieces of text that came, and their size (see `protocol.estimate`).
        self.pieces = 0
        self.units = 0
        self._sample: list[str] = []
        self._room = limits.SAID_SAMPLE

    def add(self, text: str) -> None:
        """More text of the answer, of whatever kind."""
        if not text:
            return
        self.pieces += 1
        self.units += 3 * len(text) if text.isascii() else estimate.units(text)
        if self._room > 0:
            self._sample.append(text[: self._room])
            self._room -= len(text)

    def tokens(self, model: str | None) -> int:
        """Tokens of all that was said: as the model's vocabulary counts them, if it is known; else by the size."""
        text = "".join(self._sample)
        counted = _counter.count(model, text) if model is not None else None
        if counted is None:
            # No less than one for each piece that came.
            return max(estimate.tokens(self.units), self.pieces)
        sampled = estimate.units(text)
        return counted if self.units <= sampled else counted * self.units // max(1, sampled)
