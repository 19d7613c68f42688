"""Describe this computer in a few lines of text, for the start screen.

Not covered: the full report of `conself doctor`.
"""

from __future__ import annotations

import functools
import shutil

from conself_local.home import Home
from conself_local.machine.resources import available_memory_bytes, usable_cores
from conself_local.machine.room import gib
from sandbox import Guarantee, guarantees


@functools.cache
def _cached_guarantees() -> list[Guarantee]:
    """Return the guarantees of the sandbox; testing them takes seconds, and the kernel does not change meanwhile."""
    return guarantees()


def describe_machine(home: Home) -> list[str]:
    """Return lines of text: cores, free memory, free disk space, and the tested guarantees of the sandbox here."""
    available = available_memory_bytes()
    free = shutil.disk_usage(home.path).free
    lines = [
        f"{usable_cores()} cores, {gib(available) if available else 'unknown'} memory free, "
        f"{gib(free)} disk free at {home.path}",
        "",
        "Protection from programs that the model writes, on this computer:",
    ]
    signs = {"enforced": "✓", "partial": "~", "missing": "✗"}
    lines += [f"  {signs[g.level]} {g.name}: {g.what} ({g.level})" for g in _cached_guarantees()]
    return [*lines, "  Not covered: a program that lies about its own answers, and a bug in the kernel."]
