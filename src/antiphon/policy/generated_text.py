"""How much text an engine has made so far: counts and a sample, in bounded memory however long the answer is."""

from __future__ import annotations

from antiphon.domain import limits
from antiphon.models.tokens import Counter
from antiphon.protocol import estimate

_counter = Counter()


class GeneratedText:
    """Counts generated text, so that the tokens of an answer that was broken off can be estimated."""

    __slots__ = ("_pieces", "_recent", "_room", "_sample", "_units")

    def __init__(self) -> None:
        self._pieces = 0
        self._units = 0
        self._sample: list[str] = []
        self._room = limits.TEXT_SAMPLE
        #: Pieces that are not counted yet: counting many at once costs less, and most engines report their usage.
        self._recent: list[str] = []

    def add(self, text: str) -> None:
        """More text of the answer, of whatever kind."""
        recent = self._recent
        recent.append(text)
        if len(recent) >= limits.TEXT_PIECES or len(text) > limits.TEXT_SAMPLE:
            self._count()

    @property
    def pieces(self) -> int:
        """Pieces of text that came."""
        self._count()
        return self._pieces

    def _count(self) -> None:
        text = "".join(self._recent)
        self._pieces += sum(map(bool, self._recent))
        self._recent.clear()
        self._units += estimate.units(text)
        if self._room > 0:
            self._sample.append(text[: self._room])
            self._room -= len(text)

    def tokens(self, model: str | None) -> int:
        """Tokens of all the text: as the model's vocabulary counts them, if it is known; else by its size."""
        self._count()
        text = "".join(self._sample)
        counted = _counter.count(model, text) if model is not None else None
        if counted is None:
            # No less than one for each piece that came.
            return max(estimate.tokens(self._units), self._pieces)
        sampled = estimate.units(text)
        return counted if self._units <= sampled else counted * self._units // max(1, sampled)
