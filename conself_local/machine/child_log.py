"""Read what engine and trainer print to their standard error: into a log of the home, and for messages to the user.

The engines of one process share one log. Which home it is in is decided once per process (`keep_child_logs`), because
engines are started in many places that know no home; without a home only the last lines are remembered.
Not covered: the size and the number of the logs (`log_files.py`), and children with limits, which print nothing.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from conself_local.machine.log_files import LogFile

_REMEMBERED_LINES = 50
_MAX_LINE_BYTES = 2000
"""More bytes without a line feed count as a line."""
_READ_BYTES = 2**16
_END_SECONDS = 1.0
"""Longest wait for the rest of what a child that has ended printed; its own children may keep the pipe open."""
_logs: dict[str, LogFile] = {}
_folder: Path | None = None


def keep_child_logs(folder: Path | None) -> None:
    """Write the logs of children that are started from now on to this folder; None: to none."""
    global _folder
    if folder != _folder:
        _folder = folder
        for log in _logs.values():
            log.close()
        _logs.clear()


class ChildLog:
    """What the children of one name (`engine`, `trainer`) have printed, one child after the other."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lines: deque[str] = deque(maxlen=_REMEMBERED_LINES)
        self._thread: threading.Thread | None = None

    def follow(self, process: subprocess.Popen[bytes]) -> None:
        """Read the standard error of a process, which is a pipe, until it ends; this returns at once."""
        assert process.stderr is not None, "the child's standard error is a pipe"
        log = _logs.setdefault(self._name, LogFile(_folder, self._name)) if _folder else None
        if log:
            log.write_line(f"{datetime.now(UTC).isoformat(timespec='seconds')} {self._name}, process {process.pid}")
        self._thread = threading.Thread(target=self._read, args=(process.stderr, log), daemon=True)
        self._thread.start()

    def _read(self, pipe: IO[bytes], log: LogFile | None) -> None:
        rest = b""
        with pipe:
            while read := os.read(pipe.fileno(), _READ_BYTES):
                *lines, rest = (rest + read).split(b"\n")
                if len(rest) > _MAX_LINE_BYTES:
                    lines, rest = [*lines, rest], b""
                for line in lines:
                    self._take(line, log)
        self._take(rest, log)

    def _take(self, line: bytes, log: LogFile | None) -> None:
        text = line[:_MAX_LINE_BYTES].decode(errors="replace").strip()
        if text.strip(" ."):  # llama.cpp prints its progress as dots
            self._lines.append(text)
            if log:
                log.write_line(text)

    def last_lines(self, count: int) -> list[str]:
        """Return the last lines that were printed; call it when the child has ended or is about to."""
        if self._thread:
            self._thread.join(_END_SECONDS)
        return list(self._lines)[-count:]
