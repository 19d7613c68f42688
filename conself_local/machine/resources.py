"""Cores and memory that this process may use: what the computer has, less where it was given a part only.

A part: an affinity (`taskset`), or the limits of a control group, version 2 (containers, `systemd-run`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """At least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for folder in _own_groups():
        quota, period = (_read(folder / "cpu.max") or "max 100000").split()
        if quota != "max":
            cores = min(cores, math.ceil(int(quota) / int(period)))
    return max(1, cores)


def available_memory_bytes() -> int | None:
    """What the system could give to a new process now; None where it does not say."""
    rooms = [_system_memory(), *map(_group_memory, _own_groups())]
    return min((room for room in rooms if room is not None), default=None)


def _system_memory() -> int | None:
    for line in _read(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None


def _group_memory(folder: Path) -> int | None:
    """Cached files that are not in use make room when asked, so they do not count as taken."""
    most = _read(folder / "memory.max")
    if most in ("", "max"):
        return None
    counts = dict(line.split() for line in _read(folder / "memory.stat").splitlines())
    return max(0, int(most) - int(_read(folder / "memory.current") or 0) + int(counts.get("inactive_file", 0)))


def _own_groups() -> Iterator[Path]:
    """The folder of this process's control group, and those that it lies in: each may limit."""
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        if line.startswith("0::/"):
            folder = _GROUPS / line.removeprefix("0::/")
            yield from (part for part in (folder, *folder.parents) if part.is_relative_to(_GROUPS))


def _read(path: Path) -> str:
    """Empty where there is no such file, as in the outermost group or outside Linux."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
