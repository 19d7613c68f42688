"""Measure two lower bounds for a fork server in Python: a minimal interpreter forks once per program and waits.

`nothing` keeps none of the sandbox's guarantees: no layer, no limit, no protocol and no output. `least` keeps, each in
its simplest form, only what every design with these guarantees needs: the child's own system call filter, its CPU
limit, the guarantee that the child dies with its server, and the text of each output, written as soon as it exists and
read by the forking process itself. The module reads marshalled (source, entry point, inputs) from standard input and
prints how many programs ran to the end. `sandbox_speed.py` starts it.
"""

from __future__ import annotations

import gc
import marshal
import os
import resource
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    _Job = tuple[str, str, list[tuple[Any, ...]]]


def _run(program: _Job, answer: Callable[[object], object]) -> None:
    source, entry_point, inputs = program
    names: dict[str, Any] = {"__name__": "program"}
    exec(compile(source, "<program>", "exec", dont_inherit=True), names)
    function = names[entry_point]
    for arguments in inputs:
        answer(function(*arguments))


def _fork_nothing(program: _Job) -> bool:
    pid = os.fork()
    if pid == 0:
        try:
            _run(program, lambda value: None)
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


def _fork_least(program: _Job, lock_child: Callable[[int], None]) -> bool:
    here, there = os.pipe()
    me, pid = os.getpid(), os.fork()
    if pid == 0:
        try:
            lock_child(me)
            resource.setrlimit(resource.RLIMIT_CPU, (30, 31))
            _run(program, lambda value: os.write(there, repr(value).encode()))
        except BaseException:
            os._exit(1)
        os._exit(0)
    os.close(there)
    while os.read(here, 65536):
        continue
    os.close(here)
    return os.wait4(pid, 0)[1] == 0


def _child_lock() -> Callable[[int], None]:
    from pathlib import Path  # imported here so that the other bound stays small

    sys.path.insert(0, str(Path(__file__).parents[2] / "sandbox" / "child"))
    import lockdown  # type: ignore[import-not-found]

    kept: list[int] = []  # nobody answers: a program of this benchmark starts no threads
    child_filter = lockdown.lock_server(("seccomp",), 512 * 2**20, 64, 64 * 2**10, kept.append)
    return lambda parent: lockdown.lock_child(parent, child_filter)


def main() -> None:
    """Run the programs under the bound that the first argument names, and print how many ran to the end."""
    least = sys.argv[1] == "least"
    os.register_at_fork = lambda **hooks: None
    for module in ("functools", "math", "re", "typing"):  # many programs import these: once here is cheaper
        __import__(module)
    programs = marshal.loads(sys.stdin.buffer.read())
    lock_child = _child_lock() if least else None
    for _ in range(20):
        _run(("def f(x):\n    return [x, 1.5, 'a', (None, {'b': 2})]\n", "f", [(1,)]), repr)
    gc.collect()
    gc.freeze()
    print(sum(_fork_least(program, lock_child) if lock_child else _fork_nothing(program) for program in programs))


if __name__ == "__main__":
    main()
