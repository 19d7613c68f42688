"""Find files below a folder of another tool, through links and in bounded time.

Not covered: what the files hold.
"""

from __future__ import annotations

import fnmatch
import os
from pathlib import Path

_MAX_DEPTH = 12
_MAX_FOLDERS = 20_000


def scan(folder: Path, pattern: str) -> list[Path]:
    """Return the regular files under a folder whose names match in any case, at most `_MAX_DEPTH` folders deep.

    Links to folders are followed, each folder once and at most `_MAX_FOLDERS` in all.
    """
    found, seen = [], set()
    for inside, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(inside)
        if real in seen or len(Path(inside).relative_to(folder).parts) >= _MAX_DEPTH:
            folders.clear()
        if real not in seen:
            matching = (Path(inside) / name for name in names if fnmatch.fnmatch(name.lower(), pattern))
            found += [path for path in matching if is_file(path)]
        seen.add(real)
        if len(seen) >= _MAX_FOLDERS:
            break
    return sorted(found)


def is_file(path: Path) -> bool:
    """Return whether a regular file is at the path, or behind the link at the path."""
    try:
        return path.is_file()
    except OSError:
        return False  # its name is too long, for example
