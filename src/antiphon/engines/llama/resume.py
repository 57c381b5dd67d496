"""Notes of how far an answer has come, and going on from them.

An answer is continued from its tokens, not from its text: a text tokenised anew may break elsewhere, and the model
would go on from another state than the one it was cut off in.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from antiphon.engines.llama.client import Chunk, LlamaClient


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """What one chunk added. `drawn`: tokens drawn for the whole answer, up to and with this chunk."""

    content: str
    tokens: tuple[int, ...]
    drawn: int


def note(chunk: Chunk, before: int) -> bytes:
    """A chunk as a note. `before`: tokens that the answer had before this run of the engine."""
    return msgspec.msgpack.encode(Piece(chunk.content, chunk.tokens, before + chunk.tokens_predicted))


def pieces(progress: Sequence[bytes]) -> list[Piece]:
    """The notes of an answer, up to the last that has text: what llama.cpp was still holding back is drawn again."""
    return shown([msgspec.msgpack.decode(state, type=Piece) for state in progress])


def shown(made: Sequence[Piece]) -> list[Piece]:
    """What was made, up to the last piece that has text."""
    kept = list(made)
    while kept and not kept[-1].content:
        kept.pop()
    return kept


async def tokens(client: LlamaClient, made: Sequence[Piece]) -> list[int]:
    """The tokens of the notes. Those that llama.cpp does not tell, of characters in several tokens, are read anew."""
    found: list[int] = []
    before = 0
    for piece in made:
        if piece.drawn - before == len(piece.tokens):
            found += piece.tokens
        else:
            found += await client.tokenize(piece.content, begin=False, special=False)
        before = piece.drawn
    return found
