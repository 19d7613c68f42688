"""A program may have some threads; the kernel asks the parent before each, and one too many is refused."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

import pytest

from sandbox import Limits, Output, Status, thread_watch
from tests.sandbox.conftest import ALL_LAYERS, run, server

WITHOUT_SECCOMP = tuple(layer for layer in ALL_LAYERS if layer != "seccomp")

_SOURCE = """
import threading, _thread, time
def f(count):
    threading.stack_size(32768)
    stop = _thread.allocate_lock()
    stop.acquire()
    for started in range(count):
        try:
            _thread.start_new_thread(stop.acquire, (True, 20))
        except RuntimeError:
            return started
    time.sleep(0.05)
    return "through"
"""


_ALL_AT_ONCE = """
import threading, time
def f(count):
    threading.stack_size(32768)
    def more():
        while True:
            try:
                threading.Thread(target=time.sleep, args=(20,)).start()
            except RuntimeError:
                time.sleep(0.001)
    for _ in range(32):
        threading.Thread(target=more).start()
    time.sleep(1)
"""


def _run(source: str, count: int, layers: tuple[str, ...] = ALL_LAYERS) -> tuple[Output, int]:
    """Return the output of the program, and the most threads that it was seen to have."""
    most, stop = [0], threading.Event()
    fork_server = server(layers, Limits(), False)

    def look() -> None:
        while not stop.is_set():
            for child in Path(f"/proc/{fork_server.pid}/task/{fork_server.pid}/children").read_text().split():
                with contextlib.suppress(OSError):
                    most[0] = max(most[0], Path(f"/proc/{child}/task").stat().st_nlink - 2)
            time.sleep(0.001)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        return run(source, [(count,)], layers), most[0]
    finally:
        stop.set()
        looking.join()


def test_a_program_with_32_threads_runs() -> None:
    assert _run(_SOURCE, 32)[0].text == "'through'"


def test_a_program_with_thousands_of_threads_is_refused_one_too_many() -> None:
    output, most = _run(_SOURCE, 12_000)
    assert output.text == str(thread_watch.MAX_THREADS - 1), "the first thread of the process counts"
    assert most <= thread_watch.MAX_THREADS


def test_threads_that_ask_at_the_same_time_get_at_most_twice_as_many() -> None:
    _, most = _run(_ALL_AT_ONCE, 0)
    assert 32 < most <= 2 * thread_watch.MAX_THREADS


def test_the_control_without_a_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_watch, "MAX_THREADS", 10**6)
    assert _run(_SOURCE, 500)[0].text == "'through'"


def test_if_the_kernel_cannot_ask_the_parent_looks_and_kills() -> None:
    started = time.monotonic()
    output, most = _run(_SOURCE, 12_000, WITHOUT_SECCOMP)
    assert (output.status, output.detail) == (Status.CRASHED, "more than 64 threads")
    assert time.monotonic() - started < 3 and most < 1_000, most
