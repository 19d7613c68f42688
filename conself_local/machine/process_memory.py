"""The memory of this process: now, and at its peak."""

from __future__ import annotations

import ctypes
import resource
import sys
from pathlib import Path


def resident_bytes() -> int:
    """Of this process, now; its peak where the system does not say."""
    return _status("VmRSS") or _peak_so_far()


def peak_bytes() -> int:
    """Of this process, since `reset_peak` (Linux) or since it began."""
    return _status("VmHWM") or _peak_so_far()


def give_back_freed() -> None:
    """Freed memory goes to the system (glibc keeps it in holes between blocks of other sizes, and the process would grow)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def reset_peak() -> None:
    """Linux only; elsewhere the peak is that of the whole run so far."""
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")


def _peak_so_far() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _status(key: str) -> int | None:
    if sys.platform != "linux":
        return None
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    return None
