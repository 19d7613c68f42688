"""Start the processes in which this program works: engine, trainer and limited children speak through pipes.

Not covered: what is said (`sampling/engine_process.py`, `training/trainer_process.py`, `machine/limited_child.py`), and
programs that a model wrote (`sandbox/`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import IO

from conself_local.machine.child_environment import child_environment

_TAIL_BYTES = 2000


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of this program with this Python."""
    return [sys.executable, "-m", module, *arguments]


def start_child(command: Sequence[str], stderr: IO[bytes] | int) -> subprocess.Popen[str]:
    """Start a command with pipes for text on its standard input and output, and return the process.

    It is in a session of its own, so that Ctrl-C reaches it only through its parent, which kills it.
    """
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env=child_environment(),
        start_new_session=True,
    )


def last_lines(stderr: IO[bytes], count: int) -> list[str]:
    """Return the last lines that a child printed to its standard error, a file."""
    size = stderr.seek(0, os.SEEK_END)
    stderr.seek(max(0, size - _TAIL_BYTES))
    lines = stderr.read().decode(errors="replace").splitlines()
    return [line.strip() for line in lines if line.strip(" .")][-count:]  # llama.cpp prints its progress as dots
