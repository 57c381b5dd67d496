"""Texts that come from outside and are noted beside a call: in the ledger, in metrics, in the log."""

from __future__ import annotations

from antiphon.domain import limits


def label(text: str | None, most: int = limits.MAX_LABEL) -> str | None:
    """`text`, if it is of printable characters and no longer than `most`; else None.

    What is not printable is no name that anybody has given: NUL, which PostgreSQL's text cannot hold, lone surrogates,
    which UTF-8 cannot, and what would draw on a terminal.
    """
    return text if text is not None and len(text) <= most and text.isprintable() else None


def shortened(text: str, most: int) -> str:
    """`text` with "?" for what is not printable, cut at `most` characters: for names that are worth having in part."""
    text = text[:most]
    return text if text.isprintable() else "".join(each if each.isprintable() else "?" for each in text)
