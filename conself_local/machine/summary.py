"""Describe this computer in a few lines."""

from __future__ import annotations

import functools
import shutil

from conself_local.home import Home
from conself_local.machine.resources import available_memory_bytes, usable_cores
from conself_local.machine.room import gib
from sandbox import Guarantee, guarantees


@functools.cache
def _tried() -> list[Guarantee]:
    """Trying takes seconds, and what this computer's kernel gives does not change."""
    return guarantees()


def describe_machine(home: Home) -> list[str]:
    """Cores, memory, disk, and what the sandbox guarantees here, tried."""
    available = available_memory_bytes()
    free = shutil.disk_usage(home.path).free
    lines = [
        f"{usable_cores()} cores, {gib(available) if available else 'unknown'} memory free, {gib(free)} disk free at {home.path}",
        "",
        "What the sandbox keeps model-written programs from, here:",
    ]
    signs = {"enforced": "✓", "partial": "~", "missing": "✗"}
    lines += [f"  {signs[g.level]} {g.name}: {g.what} ({g.level})" for g in _tried()]
    return [*lines, "  Not: a program that lies about its own answers, or a bug in the kernel."]
