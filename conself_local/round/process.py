"""A round as a process of its own, for a screen that starts it, watches it and asks it to stop.

What the process says goes to `conductor.log` in the home folder. It outlives the screen; the lock of the home says whether
it runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

from conself_local.home import Home
from conself_local.machine.child_environment import child_environment
from conself_local.machine.room import verify_disk

_LAST_LINES = 4


def running(home: Home) -> int | None:
    """The process of the round that runs in this home, or None."""
    path = home.path / "round.lock"
    if not path.exists():
        return None
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            text = file.read().strip()
            return int(text) if text.isdigit() else None
    return None


def start(home: Home, arguments: list[str]) -> int:
    """Begin a round, or go on with the unfinished one; arguments: those of `conself run`. Returns its process.

    Raises ConselfError where the disk is too full: the round itself could not even write down why it ends.
    """
    verify_disk(home.path)
    command = [sys.executable, "-m", "conself_local", "--home", str(home.path), "run", *arguments]
    with _log(home).open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=child_environment(), start_new_session=True
        )
    return process.pid


def stop(home: Home) -> bool:
    """Ask the round to stop, a paused one too; what is stored stays. False where none runs."""
    return _signal(home, signal.SIGTERM, signal.SIGCONT)


def pause(home: Home) -> bool:
    """Hold the round where it is; engine and sandbox end what they have begun, and then wait. False where none runs."""
    return _signal(home, signal.SIGSTOP)


def resume(home: Home) -> bool:
    return _signal(home, signal.SIGCONT)


def is_paused(home: Home) -> bool:
    pid = running(home)
    if pid is None:
        return False
    told = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return told.stdout.strip().startswith("T")


def _signal(home: Home, *signals: signal.Signals) -> bool:
    pid = running(home)
    if pid is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        for one in signals:
            os.kill(pid, one)
    return True


def tail_log(home: Home) -> list[str]:
    """The last lines that a round said; why it ended, where it failed."""
    try:
        text = _log(home).read_bytes()[-8000:].decode(errors="replace")
    except OSError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-_LAST_LINES:]


def failure(home: Home) -> str:
    """Why the last round ended early, with the way out; empty where it did not, or still runs."""
    if running(home) is not None:
        return ""
    lines = tail_log(home)
    for i, line in enumerate(lines):
        if line.startswith("conself: "):
            return " ".join(part.strip() for part in lines[i:])
    return ""


def _log(home: Home) -> Path:
    return home.path / "conductor.log"
