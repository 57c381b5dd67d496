"""Tells a model's thoughts from its answer. Sans-IO.

Models that think write `<think>…</think>` before they answer. Some templates write the opening tag themselves, so that
the answer begins inside of it; or, where thinking is switched off, both tags.
"""

from __future__ import annotations

from typing import Literal

OPEN, CLOSE = "<think>", "</think>"

#: How an answer begins: without thoughts; with thoughts or without; in the middle of them.
Thinking = Literal["none", "may", "begun"]


def thinking_after(prompt: str, *, thinks: bool) -> Thinking:
    """How the answer to a rendered prompt begins, if its model `thinks`."""
    end = prompt[-64:].rstrip()
    if not thinks or end.endswith(CLOSE):
        return "none"
    return "begun" if end.endswith(OPEN) else "may"


class ThoughtSplitter:
    """Takes an answer's text in pieces, however it is cut, and gives it back as thoughts and answer."""

    def __init__(self, thinking: Thinking) -> None:
        self._state: Literal["before", "inside", "after", "over"] = (
            "over" if thinking == "none" else "before" if thinking == "may" else "inside"
        )
        self._buffer = ""
        self._begun = False

    @property
    def over(self) -> bool:
        """Whether all that follows is the answer."""
        return self._state == "over"

    def feed(self, text: str) -> tuple[str, str, str]:
        """What of the text so far, not given back before, is no answer (tags and white space included); what of that is
        thought; and what is answer."""
        self._buffer += text
        consumed = thought = ""
        if self._state == "before":
            consumed = self._before()
        if self._state == "inside":
            raw, said = self._inside()
            consumed, thought = consumed + raw, said
        if self._state == "after":
            answer = self._buffer.lstrip()
            consumed += self._buffer[: len(self._buffer) - len(answer)]
            self._buffer = answer
            if answer:
                self._state = "over"
        if self._state != "over":
            return consumed, thought, ""
        answer, self._buffer = self._buffer, ""
        return consumed, thought, answer

    def finish(self) -> tuple[str, str, str]:
        """As `feed`, at the end of the text."""
        rest, self._buffer = self._buffer, ""
        if self._state == "before":
            return "", "", rest
        return rest, rest.strip() and rest if self._state == "inside" else "", ""

    def _before(self) -> str:
        bare = self._buffer.lstrip()
        if bare.startswith(OPEN):
            consumed = self._buffer[: len(self._buffer) - len(bare) + len(OPEN)]
            self._buffer = bare[len(OPEN) :]
            self._state = "inside"
            return consumed
        if not OPEN.startswith(bare):
            self._state = "over"
        return ""

    def _inside(self) -> tuple[str, str]:
        """What was written inside, and what of it is said: white space at both ends is only for looks."""
        at = self._buffer.find(CLOSE)
        if at >= 0:
            raw, self._buffer = self._buffer[: at + len(CLOSE)], self._buffer[at + len(CLOSE) :]
            self._state = "after"
            said = raw[:at].rstrip()
        else:
            held = next((n for n in range(len(CLOSE) - 1, 0, -1) if self._buffer.endswith(CLOSE[:n])), 0)
            said = self._buffer[: len(self._buffer) - held].rstrip()
            raw, self._buffer = said, self._buffer[len(said) :]
        if not self._begun:
            said = said.lstrip()
            self._begun = bool(said)
        return raw, said
