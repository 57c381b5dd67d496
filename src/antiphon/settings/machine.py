"""What this machine offers to this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_TOPOLOGY = Path("/sys/devices/system/cpu")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_MEMINFO = Path("/proc/meminfo")
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
#: Where each version of control groups tells the limit, what is in use, and which of that are files that give way.
_V2 = ("memory.max", "memory.current", ("active_file", "inactive_file"))
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_active_file", "total_inactive_file"))


def physical_cores() -> int:
    """Physical cores this process may use, at least 1.

    Generating is bound by memory bandwidth: a second thread on the same core only gets in the first one's way. A
    container's CPU quota counts too. Where the system does not say, logical CPUs are counted.
    """
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = {_core(cpu) for cpu in cpus}
    return max(1, min(len(cores), _quota() or len(cores)))


def _core(cpu: int) -> str:
    """A name that CPUs of one physical core have in common."""
    try:
        return (_TOPOLOGY / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text("ascii").strip()
    except OSError:
        return f"cpu{cpu}"


def _quota() -> int | None:
    """Whole CPUs of the control group's quota (Linux, version 2: `max 100000` or `150000 100000`), if there is one."""
    try:
        quota, period = _QUOTA.read_text("ascii").split()
        return None if quota == "max" else max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return None


def available_memory() -> int | None:
    """Bytes that a new program can have without swapping, where the system says.

    On Linux what the kernel says is available, and no more than the process's control groups leave; elsewhere half of
    the physical memory.
    """
    try:
        lines = _MEMINFO.read_text("ascii").splitlines()
    except OSError:
        return _half_of_physical()
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
    return min((room for room in (free, *_group_rooms()) if room is not None), default=None)


def _half_of_physical() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):
        return None


def _group_rooms() -> Iterator[int | None]:
    """What each control group that this process is in still allows, from its own up to the root."""
    try:
        entries = [line.split(":", 2) for line in _OWN_CGROUP.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError):
        return
    for _, controllers, path in (entry for entry in entries if len(entry) == 3):
        if controllers == "":
            root, files = _CGROUPS, _V2
        elif "memory" in controllers.split(","):
            root, files = _CGROUPS / "memory", _V1
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts), -1, -1):
            yield _group_room(root.joinpath(*parts[:depth]), *files)


def _group_room(group: Path, limit_file: str, usage_file: str, file_keys: tuple[str, ...]) -> int | None:
    """A control group's limit less what is in use, without cached files, which give way. None without a limit."""
    try:
        limit = int((group / limit_file).read_text("ascii"))
        used = int((group / usage_file).read_text("ascii"))
        stat = dict(line.split(" ", 1) for line in (group / "memory.stat").read_text("ascii").splitlines())
        return max(0, limit - max(0, used - sum(int(stat.get(key, 0)) for key in file_keys)))
    except (OSError, ValueError):  # "max", or a file that is not there
        return None
