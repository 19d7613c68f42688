"""Print what `conself harvest` makes of installed packages: found, taken, runnable, solvable, and how fast answers are.

Solvable means that the function, called through the prescribed first line, answers every input of its problem.

    python -m tests.benchmarks.harvest_yield FOLDER-OR-FILE ...
"""

from __future__ import annotations

import argparse
import ast
import statistics
import time
from pathlib import Path

from conself_local.problems.harvest import harvest, keep_runnable
from conself_local.problems.problem import Problem
from sandbox import Limits, Program, ProgramResult, Sandbox


def through_first_line(problem: Problem, source: str) -> str:
    """Return a program that defines the prescribed function and answers with the one in `source`."""
    head = ast.parse(f"{problem.starter_code} pass")
    defined = next(node for node in head.body if isinstance(node, ast.FunctionDef))
    arguments = defined.args
    given = ", ".join(one.arg for one in (*arguments.posonlyargs, *arguments.args))
    rest = f", *{arguments.vararg.arg}" if arguments.vararg else ""
    imports = problem.starter_code.rpartition("def ")[0]
    line = problem.starter_code.removeprefix(imports)
    body = f"    value = _solution(*[one for one in ({given}{',' if given else ''}) if one is not ...]{rest})\n"
    body += "    return list(value) if hasattr(value, '__next__') else value"
    return f"{imports}{source}\n_solution = {problem.entry_point}\n\n{line}\n{body}\n"


def _run(programs: list[Program]) -> dict[str, ProgramResult]:
    with Sandbox(Limits(), workers=2) as sandbox:
        return {result.program_id: result for result in sandbox.run(programs)}


def main() -> None:
    """Print one line for each path."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", type=Path, nargs="+", metavar="FOLDER-OR-FILE")
    print("package          found  taken  runnable  solvable  median ms of a call  largest ms  from examples  seconds")
    for path in parser.parse_args().paths:
        start = time.monotonic()
        found = list(harvest(path, 0))
        taken = [one for one in found if one.problem]
        kept = keep_runnable(found, lambda limits: Sandbox(limits, workers=2), 0) if taken else []
        seconds = time.monotonic() - start
        sources = {one.problem.id: one.source for one in taken if one.problem}
        programs = [
            Program(p.id, through_first_line(p, sources[p.id]), "function", p.entry_point, p.inputs) for p in kept
        ]
        results = _run(programs)
        solvable = sum(all(o.text is not None for o in results[p.id].outputs) for p in kept)
        times = [output.cpu_s * 1000 for p in kept for output in results[p.id].outputs] or [0.0]
        shown = sum(">>>" in p.statement for p in kept)
        print(
            f"{path.stem:<16} {len(found):>5} {len(taken):>6} {len(kept):>9} {solvable:>9} "
            f"{statistics.median(times):>20.2f} {max(times):>11.1f} {shown:>14} {seconds:>8.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
