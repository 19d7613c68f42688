"""Run a round as a separate process, for a screen that starts it, watches it and asks it to stop.

The round process is `conself run`; it outlives the screen, and its output goes to a log, which `log.py` keeps small.
Whether it runs is read from the lock of the home (`home.py`). What a round does is not here but in `run.py`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

import psutil

from conself_local.foreign_files import open_regular
from conself_local.home import Home
from conself_local.machine.child_environment import child_environment
from conself_local.machine.log_files import create_log, list_logs
from conself_local.machine.room import verify_disk

ROUND_LOG = "round"
"""The name of the logs of rounds."""
_LAST_LINES = 4
_TAIL_BYTES = 8000


def running(home: Home) -> int | None:
    """Return the process id of the round that runs in this home, or None if no round runs."""
    process = home.running()
    return process.pid if process else None


def start(home: Home, arguments: list[str], options: Sequence[str] = ()) -> int:
    """Start a round, or continue the unfinished one; return its process id.

    `arguments` are those of `conself run`, and `options` stand before the verb. Raises ConselfError if the disk is too
    full: the round itself could not even write down why it ended.
    """
    verify_disk(home.path)
    command = [sys.executable, "-m", "conself_local", "--home", str(home.path), *options, "run", *arguments]
    (home.path / "conductor.log").unlink(missing_ok=True)  # the log of earlier versions
    with os.fdopen(create_log(home.logs, ROUND_LOG), "wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=child_environment(), start_new_session=True
        )
    return process.pid


def is_starting(home: Home, pid: int) -> bool:
    """Return whether the process that `start` started last has neither taken the lock of the home nor failed yet."""
    with contextlib.suppress(psutil.Error):  # it has ended
        is_alive = psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        return is_alive and running(home) != pid and not failure(home)
    return False


def stop(home: Home) -> bool:
    """Ask the round to stop, even if it is paused; stored results are kept. Return False if no round runs."""
    return _signal(home, signal.SIGTERM, signal.SIGCONT)


def pause(home: Home) -> bool:
    """Pause the round; engine and sandbox finish what they have begun, then wait. Return False if no round runs."""
    return _signal(home, signal.SIGSTOP)


def resume(home: Home) -> bool:
    """Let a paused round continue. Return False if no round runs."""
    return _signal(home, signal.SIGCONT)


def is_paused(home: Home) -> bool:
    """Return whether the round of this home is paused; False if no round runs."""
    process = home.running()
    with contextlib.suppress(psutil.Error):  # it has ended in the meantime
        return process is not None and process.status() == psutil.STATUS_STOPPED
    return False


def _signal(home: Home, *signals: signal.Signals) -> bool:
    """Send the signals in order to the round process. Return False if no round runs."""
    pid = running(home)
    if pid is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        for one in signals:
            os.kill(pid, one)
    return True


def tail_log(home: Home) -> list[str]:
    """Return the last lines of the latest log that are not empty, at most 4; if the round failed, they say why."""
    try:
        with open_regular(list_logs(home.logs, ROUND_LOG)[-1]) as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            text = log.read(_TAIL_BYTES).decode(errors="replace")
    except (OSError, IndexError):
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-_LAST_LINES:]


def failure(home: Home) -> str:
    """Return why the last round ended early and what to do about it; empty if it did not, or still runs."""
    if running(home) is not None:
        return ""
    lines = tail_log(home)
    for i, line in enumerate(lines):
        if line.startswith("conself: "):
            return " ".join(part.strip() for part in lines[i:])
    return ""
