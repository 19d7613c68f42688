"""Compare the sandbox of this working tree with that of another revision: interleaved rounds, ratios of medians.

`python -m tests.benchmarks.sandbox_speed --against REV` calls this module. Each revision runs in a separate
process, from a git worktree, on the same programs.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
_RUNNER = """
import ast, json, sys, time
sys.path.insert(0, sys.argv[1])
from sandbox import Limits, Program, Sandbox
lines = [json.loads(line) for line in open(sys.argv[2], encoding="utf-8")]
made = [Program(x["id"], x["source"], "function", x["entry_point"], ast.literal_eval(x["inputs"])) for x in lines
        if x["id"] not in sys.argv[3].split(",")]
boxes = {"inputs together": Sandbox(Limits(), 2, "together", repeat=False), "the default": Sandbox(Limits(), 2)}
print("ready", flush=True)
for line in sys.stdin:
    name, count = line.strip().rsplit(" ", 1)
    programs = [made[i % len(made)] for i in range(int(count))]
    started = time.perf_counter()
    for _ in boxes[name].run(programs):
        pass
    print(time.perf_counter() - started, flush=True)
for box in boxes.values():
    box.close()
"""
METHODS = {"inputs together": 1.0, "the default": 0.5}
"""Way of sending the inputs -> share of the programs that it runs."""


@contextmanager
def _worktree(revision: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tree"
        subprocess.run(["git", "-C", str(ROOT), "worktree", "add", "--detach", str(path), revision], check=True)
        try:
            yield path
        finally:
            subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(path)], check=True)


def _start(tree: Path, workload: Path, excluded: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-c", _RUNNER, str(tree), str(workload), excluded]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tree)
    assert process.stdout is not None and process.stdout.readline() == "ready\n", "the revision has this sandbox"
    return process


def _seconds(process: subprocess.Popen[str], method: str, count: int) -> float:
    assert process.stdin is not None and process.stdout is not None, "both are pipes"
    process.stdin.write(f"{method} {count}\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def compare_revisions(revision: str, workload: Path, excluded: set[str], programs: int, rounds: int) -> None:
    """Print the median rates of both revisions and their ratios, for every way of sending inputs."""
    with _worktree(revision) as tree:
        running = {name: _start(path, workload, ",".join(excluded)) for name, path in (("now", ROOT), (revision, tree))}
        rates: dict[tuple[str, str], list[float]] = {}
        for _ in range(rounds):
            for method, share in METHODS.items():
                for name, process in running.items():
                    count = max(1, round(programs * share))
                    rates.setdefault((method, name), []).append(count / _seconds(process, method, count))
        for process in running.values():
            process.communicate()
    for method in METHODS:
        now, before = (statistics.median(rates[method, name]) for name in ("now", revision))
        print(f"{method}: now {now:.0f}, {revision} {before:.0f} programs/s, ratio {now / before:.2f}")
