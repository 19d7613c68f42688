"""Read which number formats this processor computes in hardware.

Source: `/proc/cpuinfo` on Linux. Not covered: other systems, which count as having no such feature.
"""

from __future__ import annotations

import platform
from pathlib import Path

BF16_FEATURES = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""The names in /proc/cpuinfo that mean BF16 multiplication in hardware."""


def processor_features() -> frozenset[str]:
    """Return the words of /proc/cpuinfo, which names the features of the processor; empty outside Linux."""
    if platform.system() != "Linux":
        return frozenset()
    return frozenset(Path("/proc/cpuinfo").read_text(errors="replace").split())


def processor_has_bf16() -> bool:
    """Return whether this processor multiplies BF16 in hardware; False outside Linux."""
    return not BF16_FEATURES.isdisjoint(processor_features())
