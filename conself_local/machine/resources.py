"""Find the number of cores and the memory that this process may use.

It is all that the computer has, unless the process is limited by an affinity (`taskset`) or by a control group of
version 2 (containers, `systemd-run`).
Not covered: control groups of version 1, and the memory of graphics cards.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Return the number of cores that this process may use, at least 1; a quota of 2.5 cores counts as 3."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for folder in _own_groups():
        quota, period = (_read(folder / "cpu.max") or "max 100000").split()
        if quota != "max":
            cores = min(cores, math.ceil(int(quota) / int(period)))
    return max(1, cores)


def available_memory_bytes() -> int | None:
    """Return the bytes that the system could give to a new process now, or None if the system does not report them.

    On systems without /proc/meminfo it is the physical memory, whether free or not.
    """
    limits = [_system_memory(), *map(_group_memory, _own_groups())]
    return min((limit for limit in limits if limit is not None), default=None)


def _system_memory() -> int | None:
    for line in _read(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None


def _group_memory(folder: Path) -> int | None:
    """Return the bytes that this control group may still take, or None if it has no limit.

    Cached files that are not in use are dropped on demand, so they count as free.
    """
    limit = _read(folder / "memory.max")
    if limit in ("", "max"):
        return None
    counts = dict(line.split() for line in _read(folder / "memory.stat").splitlines())
    return max(0, int(limit) - int(_read(folder / "memory.current") or 0) + int(counts.get("inactive_file", 0)))


def _own_groups() -> Iterator[Path]:
    """Yield the folder of this process's control group and its parent groups, each of which may set a limit."""
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        if line.startswith("0::/"):
            folder = _GROUPS / line.removeprefix("0::/")
            yield from (part for part in (folder, *folder.parents) if part.is_relative_to(_GROUPS))


def _read(path: Path) -> str:
    """Return the stripped text of the file, or "" if it cannot be read, as in the outermost group or outside Linux."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
