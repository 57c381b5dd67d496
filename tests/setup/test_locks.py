"""Each lock file is complete by itself: what a locked package asks for on this system is in it, with a fitting version.

Read from the metadata of what is installed, so no registry is asked.
"""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support.real import ROOT


def pins(*locks: str) -> dict[str, str]:
    """Name and version of what these lock files install on this system."""
    found = {}
    for lock in locks:
        text = (ROOT / "requirements" / lock).read_text("utf-8")
        for name, version, marker in re.findall(r"^([\w.-]+)==([^\s;\\]+)(?: ; ([^\\\n]+))?", text, re.MULTILINE):
            if not marker or Marker(marker).evaluate():
                found[canonicalize_name(name)] = version
    return found


def roots(*groups: str) -> list[str]:
    """The requirements that Antiphon itself has: its own, its extras', and those of these dependency groups."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    extras = [each for extra in project["project"]["optional-dependencies"].values() for each in extra]
    of_groups = [each for group in groups for each in project["dependency-groups"][group]]
    return [*project["project"]["dependencies"], *extras, *of_groups]


def missing(locked: dict[str, str], asked: list[str]) -> list[str]:
    """What is asked for, directly or by what is locked, and not locked in a version that fits."""
    wrong, seen = [], set()
    waiting = [("antiphon", Requirement(each)) for each in asked]
    while waiting:
        by, requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if not (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            continue
        if name not in locked or not requirement.specifier.contains(locked[name], prereleases=True):
            wrong.append(f"{by} asks for {requirement}; locked: {locked.get(name)}")
            continue
        for extra in {"", *requirement.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += [(name, each) for each in _of(distribution(name), extra)]
    return wrong


def _of(package: Distribution, extra: str) -> list[Requirement]:
    """What a package asks for, with this extra of its own ("": with none)."""
    asked = [Requirement(each) for each in package.requires or ()]
    found = [each for each in asked if each.marker is None or each.marker.evaluate({"extra": extra})]
    for each in found:
        each.marker = None
    return found


@pytest.mark.parametrize(
    ("locks", "groups"),
    [(["serve.txt"], ["build"]), (["serve.txt", "dev.txt"], ["build", "test", "check", "lock"])],
    ids=["serve", "dev"],
)
def test_a_lock_holds_all_that_its_packages_ask_for(locks: list[str], groups: list[str]) -> None:
    locked = pins(*locks)
    assert not missing(locked, roots(*groups))
    for name in locked:
        assert distribution(name).version == locked[name], "the environment is not the locked one: run make"


def test_a_missing_package_is_found() -> None:
    locked = pins("serve.txt")
    del locked["multidict"]
    assert any("aiohttp asks for multidict" in each for each in missing(locked, roots("build")))
    locked["yarl"] = "0.1"
    assert any("aiohttp asks for yarl" in each for each in missing(locked, roots("build")))


@pytest.mark.parametrize("lock", ["serve.txt", "dev.txt"])
def test_every_pin_has_hashes_and_no_lock_names_a_host(lock: str) -> None:
    text = (ROOT / "requirements" / lock).read_text("utf-8")
    for entry in re.split(r"\n(?=[a-zA-Z0-9])", text.strip()):
        assert re.match(r"[\w.-]+==\S+", entry), entry[:80]
        assert "--hash=sha256:" in entry, entry[:80]
    assert "://" not in text
    assert "--index" not in text


def test_both_locks_agree() -> None:
    serve, dev = pins("serve.txt"), pins("dev.txt")
    assert {name: dev.get(name) for name in serve} == serve


def test_the_lock_is_read_as_a_whole() -> None:
    text = Path(ROOT / "requirements" / "serve.txt").read_text("utf-8")
    assert len(pins("serve.txt")) > 50
    assert text.count("==") >= len(pins("serve.txt"))
