"""A parent waits for a child only while it shows progress, and the end of a child is never a broken pipe."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from conself_local.machine import limited_child
from conself_local.machine.child_pipe import ChildClosedError, ChildHungError, ChildPipe, LineTooLongError
from conself_local.machine.child_process import close_child, end_child, start_child
from conself_local.machine.limited_child import LimitedChild, LimitError

Open = Callable[..., ChildPipe]


@pytest.fixture
def open_pipe() -> Iterator[Open]:
    """Yield a function that starts a shell script and returns the pipe to it; the children are killed at the end."""
    started = []

    def start(script: str, **options: bool | int) -> ChildPipe:
        process = start_child(["sh", "-c", script], 2)
        started.append(process)
        return ChildPipe(process, **options)  # type: ignore[arg-type]

    yield start
    for process in started:
        close_child(process)


def test_lines_that_arrive_together_are_read_one_by_one(open_pipe: Open) -> None:
    """Prevent a regression: a poll after a buffered read does not see the lines that are in the buffer already."""
    pipe = open_pipe("printf 'one\\ntwo\\nthree\\nfour'; kill -STOP $$")
    assert [pipe.read_line(5) for _ in range(3)] == ["one", "two", "three"]
    with pytest.raises(ChildHungError):
        pipe.read_line(0.1)


def test_a_child_that_reports_progress_may_take_longer_than_the_limit(open_pipe: Open) -> None:
    script = "for i in 1 2 3 4 5 6; do echo alive; sleep 0.3; done; echo done; kill -STOP $$"
    assert open_pipe(script).read_line(1) == "done"
    pipe = open_pipe(script, has_heartbeat=False)
    assert pipe.read_line(1) == "alive", "a limited child cannot gain time by it"


def test_half_a_line_is_no_progress(open_pipe: Open) -> None:
    with pytest.raises(ChildHungError):
        open_pipe("while :; do printf x; sleep 0.02; done").read_line(0.5)


def test_a_line_that_is_too_long_is_refused(open_pipe: Open) -> None:
    with pytest.raises(LineTooLongError):
        open_pipe("tr '\\0' x </dev/zero", max_line_bytes=200_000).read_line(5)


def test_time_in_which_the_parent_was_paused_does_not_count(open_pipe: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = open_pipe("sleep 0.2; echo here; read nothing")
    hours = itertools.count(step=3600.0)
    monkeypatch.setattr("conself_local.machine.child_pipe.time", _Clock(lambda: next(hours)))
    assert pipe.read_line(5) == "here"


class _Clock:
    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.monotonic = monotonic


def test_a_child_that_reads_nothing_does_not_block_the_writer(open_pipe: Open) -> None:
    pipe = open_pipe("kill -STOP $$")
    started = time.monotonic()
    with pytest.raises(ChildHungError):
        pipe.write_line("x" * 2**20, 0.2)
    assert time.monotonic() - started < 20


def test_a_child_that_has_ended_is_no_broken_pipe(open_pipe: Open) -> None:
    pipe = open_pipe("exit 0")
    with pytest.raises(ChildClosedError):
        pipe.read_line(5)
    with pytest.raises(ChildClosedError):
        pipe.write_line("x" * 2**20, 5)


def test_a_stopped_child_can_be_ended() -> None:
    process = start_child(["sh", "-c", "kill -STOP $$"], 2)
    assert end_child(process) == -signal.SIGKILL
    close_child(process)


def test_a_limited_child_that_dies_or_stops_fails_one_request_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with LimitedChild("conself_local.problems.toml_child") as child:
        for stopped_by in (signal.SIGKILL, signal.SIGSTOP):
            assert child.ask("a = 1") == {"a": 1}
            assert child._process is not None
            os.kill(child._process.pid, stopped_by)
            monkeypatch.setattr(limited_child, "_WAIT_FACTOR", 0.15)
            with pytest.raises(LimitError):
                child.ask(f"a = '{'x' * 2**20}'")
            monkeypatch.undo()
        assert child.ask("a = 1") == {"a": 1}
