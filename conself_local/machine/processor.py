"""What this processor computes in hardware."""

from __future__ import annotations

import platform
from pathlib import Path

BF16_FEATURES = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


def processor_features() -> frozenset[str]:
    """The words of /proc/cpuinfo, which names what a processor can compute; empty where it is not Linux."""
    if platform.system() != "Linux":
        return frozenset()
    return frozenset(Path("/proc/cpuinfo").read_text(errors="replace").split())


def processor_has_bf16() -> bool:
    """Whether this processor multiplies BF16 in hardware (Linux; elsewhere: False)."""
    return not BF16_FEATURES.isdisjoint(processor_features())
