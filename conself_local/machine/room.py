"""Check that there is enough memory and disk space before work begins.

Not covered: how much a task needs; the caller gives the number of bytes.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from conself_local.errors import ConselfError
from conself_local.machine.resources import available_memory_bytes

DISK_NEEDED_BYTES = 200 * 2**20
"""Free disk space that a round asks for."""
_FULL_BYTES = 2**20


def verify_memory(what: str, needed: int, hint: str) -> None:
    """Raise ConselfError if `needed` bytes exceed the available memory; pass if the available memory is unknown.

    `what` names the work in the message ("sampling"); `hint` says what the user can do.
    """
    available = available_memory_bytes()
    if available is not None and needed > available:
        raise ConselfError(f"{what} needs about {gib(needed)}, but only {gib(available)} are free", hint)


def verify_disk(folder: Path, what: str = "a round", needed: int = DISK_NEEDED_BYTES) -> None:
    """Raise ConselfError if the disk of `folder`, which must exist, has fewer than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ConselfError(
            f"only {free >> 20} MiB are free on the disk of {folder}; {what} needs {needed >> 20} MiB",
            "make room (`conself prune` shows what can go), or choose another disk with --home DIR",
        )


def is_full(folder: Path) -> bool:
    """Return whether the disk of `folder`, which must exist, has less room than any work needs."""
    return shutil.disk_usage(folder).free < _FULL_BYTES


def size_text(n: int) -> str:
    """Format a number of bytes for people: `0 KiB`, `340 KiB`, `12.3 MiB`, `1.2 GiB`."""
    if n < 2**20:
        return f"{-(-n // 2**10)} KiB"
    return f"{n / 2**20:.1f} MiB" if n < 2**30 else gib(n)


def gib(n: int) -> str:
    """Format a number of bytes in GiB with one decimal, as in `0.1 GiB`."""
    return f"{n / 2**30:.1f} GiB"
