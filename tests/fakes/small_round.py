"""Run a round that is small enough for a test: real model, sandbox and trainer, nine problems of the starter pack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
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
    changing = {"wall_s", "cpu_s", "seconds", "memory_bytes", "created_at_utc", "peft_path", "gguf_path"}
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
