"""Find out which files processes have mapped into their memory, as an engine does with its weights.

Source: `/proc/PID/maps` on Linux, for the processes of this user; other systems do not tell, and the result is empty.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import psutil


def mapped_files(paths: Iterable[Path]) -> set[Path]:
    """Return those of `paths` that some process of this user has mapped."""
    wanted = {str(path.resolve()): path for path in paths}
    found: set[Path] = set()
    for pid in psutil.pids() if psutil.LINUX and wanted else ():
        try:
            maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            continue  # it has ended, or belongs to another user
        for line in maps.splitlines():
            name = line.partition("/")
            if (path := wanted.get(f"/{name[2]}")) is not None:
                found.add(path)
    return found
