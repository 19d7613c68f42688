"""Parent side: see to it that no child has more threads than a program may have.

A system-call filter cannot count, RLIMIT_NPROC does not bind root, and the kernel's stacks of threads are outside
RLIMIT_AS. So on Linux the filter asks the parent before every new thread (seccomp_unotify(2)), and the parent answers
from the number that the kernel shows. The number is looked up before the thread exists: threads that ask at the same
time may all be allowed, so a program can have at most twice as many. If a filter around this process already asks
somebody else, the kernel allows no second one; then the parent looks every few milliseconds and kills, and between two
looks a program can start some hundred. On systems other than Linux, RLIMIT_NPROC in the child is the limit.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import signal
import struct
import sys
import threading
import time

MAX_THREADS = 64
_LOOK_SECONDS = 0.003
_QUESTION = struct.Struct("=QII64x")  # struct seccomp_notif: id, thread id, flags, the call
_ANSWER = struct.Struct("=QqiI")  # struct seccomp_notif_resp: id, value, error, flags
_RECEIVE, _SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV and _SEND
_CONTINUE = 1


def _threads_of(pid: int) -> int:
    """Return how many threads the process of the thread `pid` has. Raises OSError if it is gone."""
    return os.stat(f"/proc/{pid}/task").st_nlink - 2


class _Answerer:
    """One thread that answers the questions of all fork servers; it sleeps while there is none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: set[int] = set()
        self._thread: threading.Thread | None = None

    def add(self, listener: int) -> None:
        with self._lock:
            if self._thread is None:
                self._poller = select.epoll()
                self._thread = threading.Thread(target=self._serve, name="sandbox thread answers", daemon=True)
                self._thread.start()
            self._listeners.add(listener)
            self._poller.register(listener, select.EPOLLIN)

    def remove(self, listener: int) -> None:
        with self._lock:
            self._listeners.discard(listener)
            with contextlib.suppress(FileNotFoundError):  # taken out when its server ended
                self._poller.unregister(listener)
            os.close(listener)

    def _serve(self) -> None:
        while True:
            for listener, event in self._poller.poll():
                with self._lock:
                    if listener not in self._listeners:
                        continue
                    if event & select.EPOLLIN:
                        _answer(listener)
                    else:
                        self._poller.unregister(listener)  # no process is left that could ask


def _answer(listener: int) -> None:
    """Answer one question: allow the thread, or let the call fail with EAGAIN as at RLIMIT_NPROC."""
    question = bytearray(_QUESTION.size)
    try:
        fcntl.ioctl(listener, _RECEIVE, question)
        number, thread, _ = _QUESTION.unpack(question)
        try:
            allowed = _threads_of(thread) < MAX_THREADS
        except OSError:
            allowed = False
        answer = (number, 0, 0, _CONTINUE) if allowed else (number, 0, -errno.EAGAIN, 0)
        fcntl.ioctl(listener, _SEND, _ANSWER.pack(*answer))
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EINTR):  # ENOENT: the child was killed while it asked
            raise


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
            if self._thread is None:
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
                    with contextlib.suppress(OSError):
                        if not killed and _threads_of(pid) > MAX_THREADS:
                            self._running[pid] = True
                            os.kill(pid, signal.SIGKILL)
            time.sleep(_LOOK_SECONDS)


_answerer = _Answerer()
_watcher = _Watcher()


def answer_on(listener: int) -> None:
    """Answer questions about new threads that arrive on the descriptor `listener`, until `stop_answering`."""
    _answerer.add(listener)


def stop_answering(listener: int) -> None:
    """Answer no more on `listener`, and close it."""
    _answerer.remove(listener)


def watch_threads(pid: int) -> None:
    """Kill the child `pid` as soon as it has too many threads, until `unwatch_threads` is called."""
    if sys.platform == "linux":
        _watcher.add(pid)


def unwatch_threads(pid: int) -> bool:
    """End the watch, before the child is reaped; return whether it was killed for its threads."""
    return _watcher.remove(pid)
