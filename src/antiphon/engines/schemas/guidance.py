"""The compiler of grammars, and the matcher, that are linked into the built-in llama.cpp: llguidance's C functions.

Taken from the very file that the engine's child loads, so a grammar that compiles here compiles there, with the same
limits; another release of the library, say the one on PyPI, takes other grammars. Here the vocabulary is single bytes:
what a grammar allows does not depend on how a text is cut into tokens.

The functions are those of `llguidance.h`. Of their structures only the beginning is written, and none is read.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_END = 256
#: Larger than any of the library's structures; it fills in what is not set here.
_ROOM = 1024
_HANDLE = ctypes.c_void_p


class GuidanceMissing(RuntimeError):
    """The installed llama.cpp was built without llguidance, or does not show its functions."""


class _TokenizerInit(ctypes.Structure):
    _fields_ = (
        ("vocab_size", ctypes.c_uint32),
        ("tok_eos", ctypes.c_uint32),
        ("token_lens", ctypes.POINTER(ctypes.c_uint32)),
        ("token_bytes", ctypes.c_char_p),
        ("tokenizer_json", ctypes.c_char_p),
        ("tokenize_assumes_string", ctypes.c_bool),
        ("tokenize_fn", ctypes.c_void_p),
        ("use_approximate_greedy_tokenize_fn", ctypes.c_bool),
        ("tokenize_user_data", ctypes.c_void_p),
        ("slices", ctypes.c_void_p),
        ("room", ctypes.c_uint8 * _ROOM),
    )


_SIGNATURES: dict[str, tuple[Any, Sequence[Any]]] = {
    "llg_new_tokenizer": (_HANDLE, (_HANDLE, ctypes.c_char_p, ctypes.c_size_t)),
    "llg_constraint_init_set_defaults": (None, (_HANDLE, _HANDLE)),
    "llg_new_matcher": (_HANDLE, (_HANDLE, ctypes.c_char_p, ctypes.c_char_p)),
    "llg_free_matcher": (None, (_HANDLE,)),
    "llg_matcher_get_error": (ctypes.c_char_p, (_HANDLE,)),
    "llg_matcher_compute_mask": (ctypes.c_int32, (_HANDLE,)),
    "llg_matcher_get_mask": (_HANDLE, (_HANDLE,)),
    "llg_matcher_consume_token": (ctypes.c_int32, (_HANDLE, ctypes.c_uint32)),
    "llg_matcher_is_accepting": (ctypes.c_bool, (_HANDLE,)),
}


class _Guidance:
    """The library, with a vocabulary of bytes."""

    def __init__(self) -> None:
        try:
            self.calls: Any = ctypes.CDLL(str(_library()))
            for name, (result, arguments) in _SIGNATURES.items():
                function = getattr(self.calls, name)
                function.restype, function.argtypes = result, arguments
        except (OSError, AttributeError) as error:
            raise GuidanceMissing(str(error)) from None
        tokens = [*(bytes([value]) for value in range(_END)), b"\xff<end>"]
        sizes = (ctypes.c_uint32 * len(tokens))(*map(len, tokens))
        init = _TokenizerInit(vocab_size=len(tokens), tok_eos=_END, token_lens=sizes, token_bytes=b"".join(tokens))
        init.use_approximate_greedy_tokenize_fn = True
        problem = ctypes.create_string_buffer(_ROOM)
        tokenizer = self.calls.llg_new_tokenizer(ctypes.byref(init), problem, _ROOM)
        if not tokenizer:
            raise GuidanceMissing(problem.value.decode("utf-8", "replace"))
        self.init = ctypes.create_string_buffer(_ROOM)
        self.calls.llg_constraint_init_set_defaults(self.init, tokenizer)


def _library() -> Path:
    """The file of the engine's library. Found, not imported: this process makes no models. Raises OSError."""
    package = find_spec("xllamacpp")
    folders = list(package.submodule_search_locations or ()) if package is not None else []
    for path in sorted(path for folder in folders for path in Path(folder).glob("xllamacpp.*")):
        if path.name.endswith(tuple(EXTENSION_SUFFIXES)):
            return path
    raise FileNotFoundError("xllamacpp is not installed")


@lru_cache(maxsize=1)
def _guidance() -> _Guidance:
    return _Guidance()


class Matcher:
    """One text under one grammar (Lark, as llguidance writes it). `problem`: why the grammar does not compile, or "".

    Raises `GuidanceMissing` if the engine's library cannot be used.
    """

    def __init__(self, grammar: str) -> None:
        guidance = _guidance()
        self._calls = guidance.calls
        # C text ends at a zero byte: what stands after one would not be compiled.
        whole = b"\0" not in (data := grammar.encode("utf-8", "surrogatepass"))
        self._matcher = self._calls.llg_new_matcher(guidance.init, b"lark", data if whole else b"")
        self.problem = self._error() if whole else "it contains a NUL character"

    def __del__(self) -> None:
        if getattr(self, "_matcher", None):
            self._calls.llg_free_matcher(self._matcher)

    def take(self, data: bytes) -> int:
        """Go on with `data`; returns how many of its bytes the grammar allows."""
        for index, value in enumerate(data):
            if self._calls.llg_matcher_consume_token(self._matcher, value) != 0:
                return index
        return len(data)

    @property
    def complete(self) -> bool:
        """Whether the text may end here."""
        return not self._error() and bool(self._calls.llg_matcher_is_accepting(self._matcher))

    def allowed(self) -> list[int]:
        """The bytes that may come next, and 256 if the text may end here. Empty: none may, or the library gave up."""
        if self._calls.llg_matcher_compute_mask(self._matcher) != 0:
            return []
        mask = ctypes.string_at(self._calls.llg_matcher_get_mask(self._matcher), (_END // 32 + 1) * 4)
        return [token for token in range(_END + 1) if mask[token >> 3] >> (token & 7) & 1]

    def _error(self) -> str:
        error = self._calls.llg_matcher_get_error(self._matcher)
        return error.decode("utf-8", "replace") if error else ""


def empty(grammar: str) -> bool:
    """Whether no text at all fits a grammar that compiles: not one first byte is allowed, nor the end."""
    return not Matcher(grammar).allowed()
