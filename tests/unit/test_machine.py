"""What a machine offers, as its files say."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.settings import machine

MIB = 2**20


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(machine, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(machine, "_OWN_CGROUP", tmp_path / "own")
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path / "cgroup")
    (tmp_path / "meminfo").write_text("MemTotal: 9999999 kB\nMemAvailable: 8388608 kB\n")
    (tmp_path / "own").write_text("0::/a/b\n")
    return tmp_path


def group(path: Path, limit: str, used: int, cached: int, *, old: bool = False) -> None:
    path.mkdir(parents=True, exist_ok=True)
    limit_file, used_file = (
        ("memory.limit_in_bytes", "memory.usage_in_bytes") if old else ("memory.max", "memory.current")
    )
    prefix = "total_" if old else ""
    (path / limit_file).write_text(f"{limit}\n")
    (path / used_file).write_text(f"{used}\n")
    (path / "memory.stat").write_text(
        f"anon 5\n{prefix}active_file {cached // 2}\n{prefix}inactive_file {cached // 2}\n"
    )


def test_without_control_groups_it_is_what_the_kernel_says(files: Path) -> None:
    assert machine.available_memory() == 8 * 1024 * MIB


def test_a_control_group_leaves_less(files: Path) -> None:
    group(files / "cgroup" / "a" / "b", "max", 0, 0)
    group(files / "cgroup" / "a", str(2048 * MIB), 600 * MIB, 500 * MIB)
    assert machine.available_memory() == 1948 * MIB


def test_a_group_that_is_seen_as_the_root_counts(files: Path) -> None:
    (files / "own").write_text("4:memory:/docker/123\n1:cpu:/x\n")
    group(files / "cgroup" / "memory", str(1024 * MIB), 1200 * MIB, 0, old=True)
    assert machine.available_memory() == 0


@pytest.mark.parametrize("text", ["", "nonsense", "0::/../../..\n", "::\n"])
def test_files_that_say_nothing_are_passed_over(files: Path, text: str) -> None:
    (files / "own").write_text(text)
    group(files / "cgroup" / "a" / "b", "many", 0, 0)
    assert machine.available_memory() == 8 * 1024 * MIB


def test_a_system_without_such_files(files: Path) -> None:
    (files / "meminfo").unlink()
    available = machine.available_memory()
    assert available is None or available > 0
