"""What engine and trainer print is in a log of the home, and its last lines are in the message about their end."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from conself_local.machine.child_log import ChildLog, keep_child_logs
from conself_local.machine.child_process import close_child, end_child, start_child
from conself_local.machine.log_files import list_logs


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Path]:
    """Yield the folder in which the logs of children are kept meanwhile."""
    keep_child_logs(tmp_path / "logs")
    yield tmp_path / "logs"
    keep_child_logs(None)


def _run(log: ChildLog, script: str) -> None:
    process = start_child(["sh", "-c", script], subprocess.PIPE)
    log.follow(process)
    end_child(process, is_ending=True)
    log.last_lines(1)
    close_child(process)


def test_all_engines_of_a_process_write_to_one_log(logs: Path) -> None:
    """`conself tune` starts dozens of engines; the logs of the last rounds must not be lost to them."""
    for number in range(7):
        _run(ChildLog("engine"), f"echo engine {number} >&2")
    _run(ChildLog("trainer"), "echo trained >&2")
    (engine,), (trainer,) = list_logs(logs, "engine"), list_logs(logs, "trainer")
    assert [line for line in engine.read_text().splitlines() if line.startswith("engine ")] == [
        f"engine {n}" for n in range(7)
    ]
    assert "trained" in trainer.read_text()


def test_the_last_lines_are_those_of_the_child_whether_there_is_a_home_or_not() -> None:
    log = ChildLog("engine")
    _run(log, "for i in 1 2 3 4; do echo line $i >&2; done; printf '.....' >&2; printf 'no end' >&2")
    assert log.last_lines(3) == ["line 3", "line 4", ".....no end"]


def test_a_flood_fills_neither_memory_nor_disk(logs: Path) -> None:
    log = ChildLog("engine")
    _run(
        log,
        "head -c 3000000 /dev/zero | tr '\\0' x >&2; i=0; while [ $i -lt 20000 ]; do echo a line of no use $i >&2; i=$((i+1)); done",
    )
    (path,) = list_logs(logs, "engine")
    assert path.stat().st_size < 2**20 + 1000 and log.last_lines(1) == ["a line of no use 19999"]
    assert sum(map(len, log.last_lines(10**6))) < 200_000


def test_a_grandchild_that_keeps_the_pipe_open_delays_the_message_only_a_moment() -> None:
    log = ChildLog("engine")
    process = start_child(["sh", "-c", "echo why >&2; sleep 30 & exit 1"], subprocess.PIPE)
    log.follow(process)
    assert end_child(process, is_ending=True) == 1 and log.last_lines(1) == ["why"]
    close_child(process)
