"""Describe this computer in a few lines of text, for the start screen.

Not covered: the full report of `conself doctor`.
"""

from __future__ import annotations

import functools
import shutil

from conself_local.home import Home
from conself_local.machine.builds import (
    describe_gpus,
    describe_sampling,
    describe_training,
    llama_backends,
    torch_build,
)
from conself_local.machine.gpu import read_gpus
from conself_local.machine.resources import available_memory_bytes, usable_cores
from conself_local.machine.room import gib
from sandbox import Guarantee, guarantees


@functools.cache
def _cached_guarantees() -> list[Guarantee]:
    """Return the guarantees of the sandbox; testing them takes seconds, and the kernel does not change meanwhile."""
    return guarantees()


def describe_machine(home: Home) -> list[str]:
    """Return lines of text: cores, memory, disk, the graphics card if any, and the tested guarantees of the sandbox."""
    available = available_memory_bytes()
    free = shutil.disk_usage(home.path).free
    lines = [
        f"{usable_cores()} cores, {gib(available) if available else 'unknown'} memory free, "
        f"{gib(free)} disk free at {home.path}",
        *_describe_card(),
        "",
        "Protection from programs that the model writes, on this computer:",
    ]
    signs = {"enforced": "✓", "partial": "~", "missing": "✗"}
    lines += [f"  {signs[g.level]} {g.name}: {g.what} ({g.level})" for g in _cached_guarantees()]
    return [*lines, "  Not covered: a program that lies about its own answers, and a bug in the kernel."]


def _describe_card() -> list[str]:
    """Return what the graphics card is, and what it does or how to make it; nothing without a card."""
    gpus = read_gpus()
    if not gpus:
        return []
    return [
        f"Graphics card: {describe_gpus(gpus)}",
        f"  {describe_sampling(gpus, llama_backends())}",
        f"  {describe_training(gpus, torch_build())}",
    ]
