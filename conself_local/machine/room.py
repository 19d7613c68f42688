"""Check that memory and disk have room before work begins."""

from __future__ import annotations

import shutil
from pathlib import Path

from conself_local.errors import ConselfError
from conself_local.machine.resources import available_memory_bytes

DISK_NEEDED_BYTES = 200 * 2**20


def verify_memory(what: str, needed: int, hint: str) -> None:
    available = available_memory_bytes()
    if available is not None and needed > available:
        raise ConselfError(f"{what} needs about {gib(needed)}, and {gib(available)} are free", hint)


def verify_disk(folder: Path, what: str = "a round", needed: int = DISK_NEEDED_BYTES) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ConselfError(
            f"only {free >> 20} MiB are free on the disk of {folder}; {what} needs {needed >> 20} MiB",
            "make room, or choose another disk with --home DIR",
        )


def gib(n: int) -> str:
    return f"{n / 2**30:.1f} GiB"
