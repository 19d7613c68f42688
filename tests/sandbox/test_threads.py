"""A program may have some threads; one that starts thousands is killed within milliseconds."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

import pytest

from sandbox import Limits, Program, Sandbox, Status, thread_watch

_SOURCE = """
import threading, _thread, time
def f(count):
    threading.stack_size(32768)
    stop = _thread.allocate_lock()
    stop.acquire()
    for _ in range(count):
        _thread.start_new_thread(stop.acquire, (True, 20))
    time.sleep(0.05)
    return "through"
"""


def _run(count: int) -> tuple[Status, str | None, str, int]:
    """Return status, text and detail of the program, and the most threads that it was seen to have."""
    most, stop = [0], threading.Event()

    def look(servers: list[int]) -> None:
        while not stop.is_set():
            for server in servers:
                for child in Path(f"/proc/{server}/task/{server}/children").read_text().split():
                    with contextlib.suppress(OSError):
                        most[0] = max(most[0], Path(f"/proc/{child}/task").stat().st_nlink - 2)
            time.sleep(0.001)

    program = Program("threads", _SOURCE, "function", "f", [(count,)])
    with Sandbox(Limits(wall_s=5), workers=1, repeat=False) as sandbox:
        looking = threading.Thread(target=look, args=(sandbox.server_pids,))
        looking.start()
        (result,) = sandbox.run([program])
        stop.set()
        looking.join()
    output = result.outputs[0]
    return output.status, output.text, output.detail, most[0]


def test_a_program_with_32_threads_runs() -> None:
    assert _run(32)[1] == "'through'"


def test_a_program_with_thousands_of_threads_is_killed() -> None:
    started = time.monotonic()
    status, _, detail, most = _run(12_000)
    assert (status, detail) == (Status.CRASHED, "more than 64 threads")
    assert time.monotonic() - started < 3 and most < 1_000, most


def test_the_control_without_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_watch, "MAX_THREADS", 10**6)
    assert _run(1_000)[1] == "'through'"
