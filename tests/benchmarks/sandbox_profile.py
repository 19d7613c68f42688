"""Measure where the time of a program is spent: CPU time and page faults of parent, fork server and child.

Run by hand on an idle machine: `python -m tests.benchmarks.sandbox_profile`. An empty function without layers shows the
bound: the cost of a fork of an interpreter that does nothing, below which no design with a fork server can go.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

from sandbox import Limits, Program
from sandbox.fork_server import ForkServer
from sandbox.guarantees import ALL_LAYERS
from sandbox.protocol import run_program
from tests.benchmarks.sandbox_speed import load_programs

_TICK_US = 1e6 / os.sysconf("SC_CLK_TCK")
PROGRAMS = 1000


def _stat(pid: int) -> tuple[int, int, float, float]:
    """Return (faults, children's faults, CPU µs, children's CPU µs) of a process, from /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (
        int(fields[7]),
        int(fields[8]),
        (int(fields[11]) + int(fields[12])) * _TICK_US,
        (int(fields[13]) + int(fields[14])) * _TICK_US,
    )


def _profile(name: str, programs: list[Program], layers: tuple[str, ...]) -> None:
    server = ForkServer(layers, 1)
    own, before = resource.getrusage(resource.RUSAGE_SELF), _stat(server.pid)
    for program in programs:
        run_program(server, program, range(len(program.inputs)), Limits(), "together")
    after, now = _stat(server.pid), resource.getrusage(resource.RUSAGE_SELF)
    server.close()
    n = len(programs)
    parent = (now.ru_utime + now.ru_stime - own.ru_utime - own.ru_stime) / n * 1e6
    faults, child_faults, cpu, child_cpu = ((b - a) / n for a, b in zip(before, after, strict=True))
    print(
        f"{name:34s} parent {parent:5.0f} us | server {cpu:5.0f} us, {faults:4.0f} faults | child {child_cpu:5.0f} us, {child_faults:4.0f} faults"
    )


def main() -> None:
    """Print the profile of HumanEval's programs and of an empty function, with all layers and with none."""
    nothing = Program("nothing", "def f():\n    return 1\n", "function", "f", [()])
    for layers in (ALL_LAYERS, ()):
        about = "all layers" if layers else "no layers"
        _profile(f"HumanEval, 10 inputs, {about}", load_programs(PROGRAMS), layers)
        _profile(f"an empty function, {about}", [nothing] * PROGRAMS, layers)


if __name__ == "__main__":
    main()
