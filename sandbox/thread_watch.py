"""Parent side: kill a child that has more threads than a program may have.

The system-call filter allows threads and cannot count them, RLIMIT_NPROC does not bind root, and the kernel's stacks of
threads are outside RLIMIT_AS. So one thread of the parent looks every few milliseconds how many threads each running
child has (Linux; elsewhere RLIMIT_NPROC in the child is the limit). Between two looks a program can start some hundred.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time

MAX_THREADS = 64
_LOOK_SECONDS = 0.003


class _Watcher:
    """The children that run now; the thread that looks at them sleeps while there is none."""

    def __init__(self) -> None:
        self._running: dict[int, bool] = {}
        """Process id of a child -> whether it was killed here."""
        self._lock = threading.Lock()
        self._any = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, pid: int) -> None:
        with self._lock:
            self._running[pid] = False
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._look, name="sandbox thread watch", daemon=True)
                self._thread.start()
        self._any.set()

    def remove(self, pid: int) -> bool:
        with self._lock:
            return self._running.pop(pid, False)

    def _look(self) -> None:
        while True:
            self._any.wait()
            with self._lock:  # a child stays a zombie until it was removed, so its id is not that of another process
                if not self._running:
                    self._any.clear()
                for pid, killed in self._running.items():
                    if not killed and _threads_of(pid) > MAX_THREADS:
                        self._running[pid] = True
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
            time.sleep(_LOOK_SECONDS)


def _threads_of(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}/task").st_nlink - 2
    except OSError:
        return 0


_watcher = _Watcher()


def watch_threads(pid: int) -> None:
    """Kill the child `pid` as soon as it has too many threads, until `unwatch_threads` is called."""
    if sys.platform == "linux":
        _watcher.add(pid)


def unwatch_threads(pid: int) -> bool:
    """End the watch, before the child is reaped; return whether it was killed for its threads."""
    return _watcher.remove(pid)
