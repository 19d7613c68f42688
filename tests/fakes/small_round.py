"""Run a round that is small enough for a test: real model, sandbox and trainer, nine problems of the starter pack."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from conself_local.problems.formats.own import record_of
from conself_local.problems.load import load_starter
from conself_local.store.store import Store

TRAIN = ("starter/add-numbers", "starter/square")
JUDGED = ("starter/add-ten", "starter/triple", "starter/is-zero")


def write_problems(path: Path, *more: str) -> Path:
    """Write the problems of TRAIN and JUDGED, and those of the ids in `more`, as JSON Lines to `path`; return `path`."""
    wanted = set(TRAIN + JUDGED + more)
    records = [record_of(p) for p in load_starter() if p.id in wanted]
    assert len(records) == len(wanted), "the starter pack has the problems that the tests name"
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    return path


def command(home: Path, *arguments: str) -> list[str]:
    """Return the command line that runs `conself` on this home."""
    return [sys.executable, "-m", "conself_local", "--home", str(home), *arguments]


def run_arguments(problems: Path, *, slots: int = 1, verb: str = "run") -> list[str]:
    """Return the arguments of a round with a fixed seed and one thread, judged on both validation and held-out."""
    arguments = [verb, "--problems", str(problems), "--seed", "5", "--slots", str(slots), "--threads", "1"]
    return [*arguments, "--benchmark", "validation", "--benchmark", "held-out"]


def run_conself(home: Path, *arguments: str, timeout: float = 900) -> subprocess.CompletedProcess[str]:
    """Run `conself` as a process until it ends; a failure is in the return code and does not raise."""
    return subprocess.run(
        command(home, *arguments), capture_output=True, text=True, timeout=timeout, env=dict(os.environ), check=False
    )


def dump(home: Path, tables: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the sorted rows of every table, without the columns that differ from run to run (times, sizes, paths)."""
    changing = {"wall_s", "cpu_s", "seconds", "memory_bytes", "created_at_utc", "peft_path", "path"}
    with Store(home / "conself.db") as store:
        contents = {}
        for table in tables:
            rows = [{k: v for k, v in row.items() if k not in changing} for row in store.rows(f"select * from {table}")]
            contents[table] = sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))
        return contents


def descendants(pid: int, text: str) -> list[int]:
    """Return the processes below `pid` whose command line contains `text`."""
    parents: dict[int, int] = {}
    matching = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                if text in (entry / "cmdline").read_text().replace("\0", " "):
                    matching.append(int(entry.name))
            except (OSError, IndexError):
                continue

    def is_below(child: int) -> bool:
        while child in parents and child != pid:
            child = parents[child]
        return child == pid

    return [child for child in matching if child != pid and is_below(child)]


def count_rows(home: Path, sql: str) -> int:
    """Return the count that `sql` selects in the store of a home, which may not exist yet."""
    database = home / "conself.db"
    if not database.exists():
        return 0
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)
    try:
        return int(connection.execute(sql).fetchone()[0])
    except sqlite3.OperationalError:  # the tables are not there yet
        return 0
    finally:
        connection.close()


def kill_when(process: subprocess.Popen[str], home: Path, sql: str, at_least: int, victim: str | None) -> int:
    """Send SIGKILL once `sql` counts `at_least`, and return that count.

    victim: a part of the command line of the children to kill; None stands for the round process.
    """
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline:
        done = count_rows(home, sql)
        if done >= at_least:
            victims = [process.pid] if victim is None else descendants(process.pid, victim)
            if victims:
                for pid in victims:
                    with suppress(ProcessLookupError):  # a child ends with its parent
                        os.kill(pid, signal.SIGKILL)
                return done
        assert process.poll() is None, f"the round ended before it could be disturbed: {process.communicate()}"
        time.sleep(0.02)
    raise AssertionError(f"{sql} did not reach {at_least}")
