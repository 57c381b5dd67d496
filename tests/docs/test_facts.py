"""What the documentation says about names and places is so: links, settings, endpoints, commands, make targets."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from antiphon.settings.declared import declared
from support.commands import run_command
from support.composed import core_of
from support.pages import anchors, blocks, links, pages, prose
from support.real import ROOT, environment

GUIDE = ROOT / "docs" / "guide"


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith(("https://", "http://")):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), f"{page.name}: {link}"
        assert target.is_relative_to(ROOT), f"{page.name}: {link} leads out of the project"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link} has no such heading"


def everything() -> str:
    return "\n".join(page.read_text("utf-8") for page in pages())


def test_the_table_of_settings_is_the_list_of_settings() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", (GUIDE / "settings.md").read_text("utf-8"), re.MULTILINE)
    assert [name for name, _ in rows] == [*declared()]
    for name, default in rows:
        assert default == declared()[name].default_text, name


def test_named_variables_and_flags_exist() -> None:
    variables = {f"ANTIPHON_{name.upper()}" for name in declared()} | {"ANTIPHON_CONFIG"}
    named = set(re.findall(r"ANTIPHON_[A-Z_]+\b", everything()))
    assert named <= variables, named - variables
    flags = {item.flag for item in declared().values()} | {"--config", "--help", "--json"}
    flags |= {"--project", "--name", "--publish", "--response-ttl-days", "--star", "--once", "--interval", "--url"}
    flags |= {"--project", "--name", "--publish", "--response-ttl-days"}
    flags |= {"--days", "--scopes", "--overlap", "--rpm", "--key", "--user"}
    flags |= {"--admin", "--keep", "--read-only", "--role"}
    flags |= {"--model", "--input", "--output-tokens", "--provider", "--by", "--days", "--csv"}
    flags |= {"--month", "--day", "--alert", "--key", "--allow-unknown"}
    flags |= {"--project", "--name", "--publish", "--response-ttl-days", "--ttl"}
    shown = {flag for page in pages() for flag in re.findall(r"antiphon [^`\n]*?(--[a-z-]+)", page.read_text("utf-8"))}
    assert shown <= flags, shown - flags
    assert named
    assert shown


def _help(*group: str) -> str:
    return run_command(*group, "--help", env=environment(), cwd=ROOT).stdout


def test_named_commands_exist() -> None:
    listed = _help()
    groups = {"admin-keys", "budgets", "cache", "cost", "models", "keys", "limits", "projects", "prompts", "users"}
    groups |= {"jobs", "routes"}
    helps = {group: _help(group) for group in groups}
    named = set(re.findall(r"(?:`|bin/|^|\$\()antiphon ([a-z-]+)(?: ([a-z]+))?", everything(), re.MULTILINE))
    assert {command for command, _ in named} >= {"serve", "env", "models", "keys", "config", "doctor"}
    for command, more in named:
        assert re.search(rf"^  {command}\b", listed, re.MULTILINE), command
        if command in groups and more:
            assert re.search(rf"^  {more}\b", helps[command], re.MULTILINE), f"{command} {more}"


def test_named_targets_of_make_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:`|\$ )make ([a-z]+)", everything()))
    assert {"serve", "test"} <= named <= targets


def test_the_table_of_endpoints_is_what_is_served(tmp_path: Path) -> None:
    from antiphon.app.compose import FEATURES

    core = core_of(tmp_path)
    resources = [resource for feature in FEATURES for resource in feature(core).resources]
    served = {
        (method, re.sub(r"\{[^}]+\}", "{id}", resource.path))
        for resource in resources
        for method in resource.methods
        if method != "HEAD"
    }
    table = re.findall(r"^\| ((?:`[A-Z]+.*?`(?:, )?)+) \|", (GUIDE / "api.md").read_text("utf-8"), re.MULTILINE)
    documented: set[tuple[str, str]] = set()
    for row in table:
        methods = re.findall(r"\b(GET|POST|DELETE)\b", row)
        documented |= {(method, path) for method in methods for path in re.findall(r"(/[\w/{}]+)", row)}
    assert documented == served


def test_the_table_of_metrics_is_what_is_collected(tmp_path: Path) -> None:
    from antiphon.app.compose import compose
    from antiphon.http.metrics import Collector
    from antiphon.policy.observe.gauges import Gauge

    core = core_of(tmp_path)
    compose(core)
    # Those of an engine that has a queue and grammars, as the built-in one.
    core.observer.gauges += [Gauge(name, "", lambda: 0) for name in ("engine_queue", "grammars_lost")]
    families = list(Collector(core.observer).collect())
    collected = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
    page = (GUIDE / "observability.md").read_text("utf-8")
    assert sorted(re.findall(r"^\| `(antiphon_\w+)` \|", page, re.MULTILINE)) == sorted(collected)


def test_prose_has_no_leftovers() -> None:
    for page in pages():
        assert not re.search(r"\b(TODO|FIXME|XXX|TBD)\b", prose(page)), page.name
        assert blocks(page) is not None


#: Pages that tell what was: files may be gone since.
_PAST = {"CHANGELOG.md"}
#: Files that a user makes.
_OF_USERS = {"antiphon.toml", "opencode.json"}


@cache
def files() -> frozenset[str]:
    """Every file of the project that a page may name, from its root."""
    places = [ROOT / "src", ROOT / "bench", ROOT / "scripts", *(ROOT / "tests").glob("[!n]*")]
    found = (file for place in places for kind in ("py", "toml", "json") for file in place.rglob(f"*.{kind}"))
    return frozenset(f"/{file.relative_to(ROOT)}" for file in (*found, *ROOT.glob("*.toml")))


@pytest.mark.parametrize("page", [page for page in pages() if page.name not in _PAST], ids=lambda page: page.name)
def test_files_that_pages_name_are_there(page: Path) -> None:
    text = page.read_text("utf-8")
    # What a page tells how to make is not there.
    known = files() | {f"/{name}" for name in re.findall(r"^`(src/antiphon/[\w/]+\.py)`$", text, re.MULTILINE)}
    named = set(re.findall(r"`([a-z][\w/.-]*\.(?:py|toml|json))`", text)) - _OF_USERS
    assert not {name for name in named if not any(file.endswith(f"/{name}") for file in known)}
