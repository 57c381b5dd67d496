"""The project's documentation as data: its fenced blocks, its links, its headings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from support.real import ROOT

_FENCE = re.compile(r"^(`{3,})(\w*)\s*$")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block. `line` is that of its fence, counted from 1."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def follows(self) -> str:
        """The first line of prose after it."""
        after = self.page.read_text("utf-8").splitlines()[self.line + self.text.count("\n") + 1 :]
        return next((line for line in after if line.strip()), "")

    @property
    def where(self) -> str:
        """Its place, as editors understand it."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """Every page, README first."""
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def guides() -> list[Path]:
    """The pages whose blocks are run."""
    return [ROOT / "README.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page. Raises AssertionError for one that never ends."""
    found: list[Block] = []
    fence = language = ""
    text: list[str] = []
    begun = 0
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        match = _FENCE.match(line)
        if not fence and match:
            fence, language, begun, text = match[1], match[2], number, []
        elif fence and line.strip() == fence:
            found.append(Block(page, begun, language, "\n".join(text) + "\n"))
            fence = ""
        elif fence:
            text.append(line)
    assert not fence, f"{page}:{begun}: the block has no end"
    return found


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    text = page.read_text("utf-8")
    for block in blocks(page):
        text = text.replace(f"```{block.language}\n{block.text}```", "", 1)
    return text


def links(page: Path) -> list[str]:
    """The targets of a page's links."""
    return _LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """What a link can point to inside a page: its headings, as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
