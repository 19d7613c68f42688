"""Battery and heat are read from files of the formats that Linux writes."""

from __future__ import annotations

import sys
from pathlib import Path

from conself_local.machine.power import Power, on_mains, read_power


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_discharging_battery_and_heat_are_detected(tmp_path: Path) -> None:
    _write(tmp_path / "class/power_supply/BAT0/status", "Discharging\n")
    _write(tmp_path / "class/power_supply/BAT0/capacity", "41\n")
    for core, count in enumerate((3, 4)):
        _write(tmp_path / f"devices/system/cpu/cpu{core}/thermal_throttle/core_throttle_count", f"{count}\n")
    assert read_power(tmp_path) == Power(on_battery=True, percent=41, throttled=7)
    assert sys.platform != "linux" or not on_mains(tmp_path)


def test_a_charging_battery_and_the_battery_of_a_mouse_do_not_count(tmp_path: Path) -> None:
    _write(tmp_path / "class/power_supply/BAT0/status", "Charging\n")
    _write(tmp_path / "class/power_supply/hidpp/status", "Discharging\n")
    _write(tmp_path / "class/power_supply/hidpp/scope", "Device\n")
    assert read_power(tmp_path) == Power(on_battery=False, percent=None, throttled=0)
    assert sys.platform != "linux" or (on_mains(tmp_path) and on_mains(tmp_path / "nothing here"))
    assert read_power(tmp_path / "nothing here") == Power(on_battery=False, percent=None, throttled=0)
