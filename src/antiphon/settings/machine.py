"""What this machine offers to this process."""

from __future__ import annotations

import os
from pathlib import Path

_TOPOLOGY = Path("/sys/devices/system/cpu")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


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
