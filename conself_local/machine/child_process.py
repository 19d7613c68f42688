"""Start and end the processes in which this program works: engine, trainer and limited children speak through pipes.

Not covered: the pipes (`child_pipe.py`), what is said (`sampling/engine_process.py`, `training/trainer_process.py`,
`machine/limited_child.py`), and programs that a model wrote (`sandbox/`).
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Sequence

from conself_local.machine.child_environment import child_environment

_OWN_END_SECONDS = 10.0
_END_SECONDS = 30.0
"""Longest time that a killed process may take to end: one that a driver or a lost disk holds may never end."""


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of this program with this Python."""
    return [sys.executable, "-m", module, *arguments]


def start_child(command: Sequence[str], stderr: int) -> subprocess.Popen[bytes]:
    """Start a command with unbuffered pipes for `ChildPipe` on its standard input and output; return the process.

    stderr: as for `Popen`; with a pipe, `ChildLog.follow` reads it.
    It is in a session of its own, so that Ctrl-C reaches it only through its parent, which kills it.
    """
    return subprocess.Popen(
        command,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=child_environment(),
        start_new_session=True,
    )


def end_child(process: subprocess.Popen[bytes], *, is_ending: bool = False) -> int | None:
    """Kill a process, stopped or not, and return its status as `Popen.wait` does; None if it does not end.

    is_ending: it has closed its output, so it gets the time to end with a status of its own.
    """
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(_OWN_END_SECONDS if is_ending else 0)
    process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(_END_SECONDS)
    return None


def close_child(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and close its pipes."""
    end_child(process)
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()
