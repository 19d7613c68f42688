"""Write logs of bounded size: `NAME-N.log` in the folder `logs` of a home, of which the newest few are kept.

What a process prints may quote anything, so lines are cut, and shown as `foreign_text.py` decides. A log that cannot be
written never ends what it is about. Not covered: what is logged, and bug reports (`maintenance/report.py`).
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import threading
from pathlib import Path

from conself_local.foreign_text import shown

LOG_NAMES = ("round", "engine", "trainer", "tui")
KEPT_LOGS = 5
"""Logs of each name that are kept, the new one included."""
MAX_LOG_BYTES = 2**20
"""A log that grows beyond this loses its older half."""
_MAX_LINE_CHARACTERS = 400
"""Longer lines are cut, so that no prompt and no program can fill one."""
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_CUT = b"... older lines were removed\n"


def _numbered(folder: Path, name: str) -> list[tuple[int, Path]]:
    """Return everything in the folder that is named like a log, by number."""
    pattern = re.compile(rf"{name}-([1-9][0-9]{{0,8}})\.log")
    with contextlib.suppress(OSError):
        return sorted((int(match[1]), path) for path in folder.iterdir() if (match := pattern.fullmatch(path.name)))
    return []


def list_logs(folder: Path, name: str) -> list[Path]:
    """Return the logs of a name, oldest first; what is no plain file, such as a link, is left out."""
    return [path for _, path in _numbered(folder, name) if path.is_file() and not path.is_symlink()]


def create_log(folder: Path, name: str) -> int:
    """Return the descriptor of a new, private log, opened to append; the oldest logs of the name are removed.

    Raises OSError if the folder cannot be written.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    number = max((number for number, _ in _numbered(folder, name)), default=0) + 1
    while True:
        try:
            descriptor = os.open(folder / f"{name}-{number}.log", _FLAGS, 0o600)
        except FileExistsError:  # another process has taken the number
            number += 1
            continue
        for path in list_logs(folder, name)[:-KEPT_LOGS]:
            path.unlink(missing_ok=True)
        return descriptor


def is_log(folder: Path, name: str, descriptor: int) -> bool:
    """Return whether a descriptor writes to one of the logs of this name."""
    try:
        status = os.fstat(descriptor)
        return stat.S_ISREG(status.st_mode) and any(
            os.path.samestat(status, path.stat()) for path in list_logs(folder, name)
        )
    except OSError:
        return False


def trim_log(descriptor: int) -> None:
    """Remove the older half of a log that has grown too large; the descriptor is open to append. Raises OSError."""
    size = os.fstat(descriptor).st_size
    if size <= MAX_LOG_BYTES:
        return
    kept = os.pread(descriptor, MAX_LOG_BYTES // 2, size - MAX_LOG_BYTES // 2).partition(b"\n")[2]
    os.ftruncate(descriptor, 0)
    os.write(descriptor, _CUT + kept)


class LogFile:
    """One log that several threads may write to; it is made with its first line. Nothing here raises OSError."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._descriptor: int | None = None
        self._lock = threading.Lock()

    def write_line(self, line: str) -> None:
        """Append one line, cut and shown as foreign text."""
        text = shown(line, lines=False)
        if len(text) > _MAX_LINE_CHARACTERS:
            text = f"{text[:_MAX_LINE_CHARACTERS]} ... ({len(text)} characters)"
        with self._lock, contextlib.suppress(OSError):
            if self._descriptor is None:
                self._descriptor = create_log(self._folder, self._name)
            os.write(self._descriptor, f"{text}\n".encode())
            trim_log(self._descriptor)

    def close(self) -> None:
        """Close the file; a later line begins a new one."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None
