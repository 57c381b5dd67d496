"""Counts tokens of OpenAI's models, offline: tiktoken, with vocabularies that come with the package.

Loading a vocabulary takes a third of a second and 80 MB, so a server does it beside its work (`Counter`), and only if
it has something to count.
"""

from __future__ import annotations

import os
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tiktoken import Encoding

_VOCABULARIES = Path(__file__).parent / "vocabularies"
#: tiktoken's encodings that the vocabularies in the package are enough for.
_KNOWN = frozenset({"o200k_base", "o200k_harmony", "cl100k_base"})
#: What each message, a name, and the beginning of the answer take beyond their text (OpenAI's published recipe for
#: counting the tokens of chat messages).
_PER_MESSAGE = 3
_PER_NAME = 1
_PER_ANSWER = 3
#: Characters that are counted exactly where others wait; of longer text, this much is, and the rest at the same rate.
_SAMPLE = 50_000

_lock = threading.Lock()


def encoding_name(model: str) -> str | None:
    """The encoding of a model by its public name; None if it is not known, or there is no vocabulary for it here."""
    from tiktoken.model import encoding_name_for_model

    try:
        name = encoding_name_for_model(model)
    except KeyError:
        return None
    return name if name in _KNOWN else None


@cache
def _encoding(name: str) -> Encoding:
    """The encoding, read from the package's own vocabulary. tiktoken would otherwise fetch it."""
    import tiktoken

    variable = "TIKTOKEN_CACHE_DIR"
    with _lock:
        before = os.environ.get(variable)
        os.environ[variable] = str(_VOCABULARIES)
        try:
            return tiktoken.get_encoding(name)
        finally:
            if before is None:
                del os.environ[variable]
            else:
                os.environ[variable] = before


def count_text(model: str, text: str) -> int | None:
    """Tokens of a text for this model, exactly. None: its tokenizer is not known here."""
    name = encoding_name(model)
    return None if name is None else _count(name, text)


def count_messages(model: str, messages: list[dict[str, Any]]) -> int | None:
    """Input tokens of chat messages of plain text, by OpenAI's published recipe. None: the tokenizer is not known."""
    name = encoding_name(model)
    if name is None:
        return None
    total = _PER_ANSWER
    for message in messages:
        total += _PER_MESSAGE + _count(name, str(message.get("role", ""))) + _count(name, _text_of(message))
        if message.get("name"):
            total += _PER_NAME + _count(name, str(message["name"]))
    return total


def _text_of(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")


def _count(name: str, text: str) -> int:
    return len(_encoding(name).encode_ordinary(text))


class Counter:
    """Counts for a server: never waits for a vocabulary."""

    def __init__(self) -> None:
        self._ready: set[str] = set()
        self._loading: set[str] = set()

    def count(self, model: str, text: str) -> int | None:
        """Tokens of a text; of a long one, at the rate of its beginning. None: not known, or not loaded yet."""
        name = encoding_name(model)
        if name is None:
            return None
        if name not in self._ready:
            self._load(name)
            return None
        if len(text) <= _SAMPLE:
            return _count(name, text)
        return _count(name, text[:_SAMPLE]) * len(text) // _SAMPLE

    def _load(self, name: str) -> None:
        if name in self._loading:
            return
        self._loading.add(name)

        def load() -> None:
            _encoding(name)
            self._ready.add(name)

        threading.Thread(target=load, name="vocabulary", daemon=True).start()
