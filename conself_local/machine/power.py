"""Whether the laptop runs on its battery, and how often heat has slowed its processor: as far as Linux tells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Power:
    on_battery: bool
    percent: int | None
    """Of the battery's charge, where one is discharging."""
    throttled: int
    """Times since the start of the system that a core was slowed for heat."""


def read_power(system: Path = Path("/sys")) -> Power:
    """Elsewhere than on Linux, and where a file cannot be read: no battery, no heat."""
    discharging = [
        supply
        for supply in sorted(system.glob("class/power_supply/*"))
        if _read(supply / "status") == "Discharging" and _read(supply / "scope") != "Device"  # a mouse has one too
    ]
    charge = _read(discharging[0] / "capacity") if discharging else ""
    counts = [_read(file) for file in system.glob("devices/system/cpu/cpu*/thermal_throttle/core_throttle_count")]
    return Power(
        bool(discharging), int(charge) if charge.isdigit() else None, sum(int(c) for c in counts if c.isdigit())
    )


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
