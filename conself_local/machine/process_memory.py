"""Measure the resident memory of this process, now and at its peak, in bytes.

Source: `/proc/self/status` on Linux, `getrusage` on other systems. Not covered: memory of a graphics card.
"""

from __future__ import annotations

import ctypes
import resource
import sys
from pathlib import Path


def resident_bytes() -> int:
    """Return the resident memory of this process now; outside Linux, its peak so far."""
    return _status("VmRSS") or _peak_so_far()


def peak_bytes() -> int:
    """Return the peak resident memory of this process since `reset_peak` (Linux) or since the process started."""
    return _status("VmHWM") or _peak_so_far()


def give_back_freed() -> None:
    """Return freed memory to the system; do nothing without glibc.

    glibc keeps freed memory in holes between blocks of other sizes, and the process would grow.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def reset_peak() -> None:
    """Reset the peak that `peak_bytes` returns (Linux only; on other systems it remains that of the whole process)."""
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
