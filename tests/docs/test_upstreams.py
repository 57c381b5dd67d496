"""What the page on upstreams says of profiles, waits and codes is what the code has."""

from __future__ import annotations

import re

from antiphon.domain import limits
from antiphon.engines.upstream.profiles import PROFILES
from support.real import ROOT

PAGE = (ROOT / "docs/guide/upstreams.md").read_text()


def test_the_table_of_profiles_is_the_list_of_profiles() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| [^|]+ \| (\w+) \| (\w+) \| (\w+) \|", PAGE, re.MULTILINE)
    word = {True: "trusted", False: "enforced"}
    assert {name: tuple(cells) for name, *cells in rows} == {
        name: (word[profile.tool_choice_required], word[profile.json_schema], word[profile.sound_calls])
        for name, profile in PROFILES.items()
    }
    assert {name for name, profile in PROFILES.items() if profile.json_with_tools} == {"openai", "antiphon"}
    assert all(("counts tokens" in row) == (PROFILES[name].counting is not None) for name, row in named_rows())


def named_rows() -> list[tuple[str, str]]:
    return [(name, row) for row in PAGE.splitlines() for name in PROFILES if row.startswith(f"| `{name}` |")]


def test_the_table_of_waits() -> None:
    for name in ("connect", "first", "between"):
        assert f"| `{name}` | {getattr(limits, f'UPSTREAM_{name.upper()}'):g} s |" in PAGE
    assert (limits.UPSTREAM_STREAM, limits.UPSTREAM_ANSWER) == (3600, 600)
    assert "| `whole` | 1 h for a stream, 10 min for an answer that comes at once |" in PAGE
