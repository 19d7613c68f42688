"""Cores and memory are those that this process may use, if it was given only a part of the computer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conself_local.machine import resources
from conself_local.machine.resources import available_memory_bytes, usable_cores
from conself_local.machine.room import size_text

MIB = 2**20


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a control group inside another one; both are shown as this process's groups."""
    folder = tmp_path / "outer" / "inner"
    folder.mkdir(parents=True)
    monkeypatch.setattr(resources, "_GROUPS", tmp_path)
    read = resources._read
    monkeypatch.setattr(
        resources, "_read", lambda path: "1:cpu:/\n0::/outer/inner" if path == Path("/proc/self/cgroup") else read(path)
    )
    return folder


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores")
def test_cores_are_those_of_the_affinity() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); from conself_local.machine.resources import *; print(usable_cores())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


def test_without_limits_all_of_the_computer_counts(group: Path) -> None:
    cores, memory = usable_cores(), available_memory_bytes()
    (group / "cpu.max").write_text("max 100000\n")
    (group / "memory.max").write_text("max\n")
    assert usable_cores() == cores
    assert memory and available_memory_bytes() == pytest.approx(memory, abs=512 * MIB)


def test_a_quota_of_cores_is_rounded_up(group: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    (group / "cpu.max").write_text("250000 100000\n")
    assert usable_cores() == 3
    (group.parent / "cpu.max").write_text("50000 100000\n")
    assert usable_cores() == 1, "the limit of the outer group holds for the inner one"


def test_memory_is_what_the_group_has_left(group: Path) -> None:
    (group / "memory.max").write_text(f"{100 * MIB}\n")
    (group / "memory.current").write_text(f"{70 * MIB}\n")
    (group / "memory.stat").write_text(f"anon {50 * MIB}\ninactive_file {20 * MIB}\n")
    assert available_memory_bytes() == 50 * MIB
    (group / "memory.current").write_text(f"{130 * MIB}\n")
    assert available_memory_bytes() == 0


def test_sizes_are_rounded_for_people_and_something_is_never_nothing() -> None:
    sizes = {0: "0 KiB", 1: "1 KiB", 2**20 - 1: "1024 KiB", 2**20: "1.0 MiB", 3 * 2**29: "1.5 GiB"}
    assert {n: size_text(n) for n in sizes} == sizes
