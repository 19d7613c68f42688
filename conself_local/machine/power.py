"""Read whether the laptop runs on its battery, and how often heat has slowed its processor.

Source: `/sys` of Linux. Not covered: heat on other systems, and their battery except in `on_mains`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Power:
    """The state of the battery, and how often heat has slowed the processor."""

    on_battery: bool
    """True if a battery of the computer is discharging."""
    percent: int | None
    """Charge of the discharging battery, 0 to 100; None if no battery is discharging or the charge is unknown."""
    throttled: int
    """How many times a core was slowed for heat since the system started, summed over the cores."""


def read_power(system: Path = Path("/sys")) -> Power:
    """Read the state from the files below `system`.

    On other systems than Linux, and for a file that cannot be read, the result is no battery and no heat.
    """
    discharging = [
        supply
        for supply in sorted(system.glob("class/power_supply/*"))
        if _read(supply / "status") == "Discharging" and _read(supply / "scope") != "Device"  # the battery of a mouse
    ]
    charge = _read(discharging[0] / "capacity") if discharging else ""
    counts = [_read(file) for file in system.glob("devices/system/cpu/cpu*/thermal_throttle/core_throttle_count")]
    return Power(
        bool(discharging), int(charge) if charge.isdigit() else None, sum(int(c) for c in counts if c.isdigit())
    )


def on_mains(system: Path = Path("/sys")) -> bool:
    """Return whether the computer is not known to run on its battery; a computer without one is on mains power."""
    if sys.platform == "linux":
        return not read_power(system).on_battery
    battery = psutil.sensors_battery()
    return battery is None or battery.power_plugged is not False


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
