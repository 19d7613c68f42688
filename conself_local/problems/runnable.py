"""Find out in the sandbox what of a problem does not run: its prescribed first lines, or its reference.

An answer begins with the first lines, so no program can answer a problem whose first lines name what is not there. A
reference that answers no input makes every program wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from conself_local.problems.literals import parses
from conself_local.problems.problem import Problem
from sandbox import Limits, MakeSandbox, Program, Status

_LIMITS = Limits(wall_s=2.0)
_FIRST_INPUTS = 8
"""Inputs on which every reference runs; one that answers none of them runs on all."""
_LOADED = "conself_loaded"


def first_lines_that_fail(problems: Iterable[Problem], make_sandbox: MakeSandbox) -> dict[str, str]:
    """Return id -> reason for the problems whose first lines, followed by `pass`, do not run."""
    programs = [
        Program(p.id, _completed(p.starter_code), "function", _LOADED, ())
        for p in problems
        if p.kind == "function" and p.starter_code.strip()
    ]
    if not programs:
        return {}
    with make_sandbox(_LIMITS) as sandbox:
        return {
            result.program_id: f"its first line does not run ({result.load.detail})"
            for result in sandbox.run(programs)
            if result.load.status is not Status.OK
        }


def references_that_fail(problems: Sequence[Problem], make_sandbox: MakeSandbox) -> dict[str, str]:
    """Return id -> reason for the problems whose reference answers none of their inputs."""
    silent = _silent([p for p in problems if p.reference is not None], _FIRST_INPUTS, make_sandbox)
    more = [p for p in problems if p.id in silent and len(p.inputs) > _FIRST_INPUTS]
    still_silent = _silent(more, None, make_sandbox)
    answering = {p.id for p in more} - still_silent.keys()
    return {
        id: f"its reference answers none of its inputs ({detail})"
        for id, detail in silent.items()
        if id not in answering
    }


def _silent(problems: Sequence[Problem], count: int | None, make_sandbox: MakeSandbox) -> dict[str, str]:
    """Return id -> how the first input ended, for references that answer none of the first `count` inputs."""
    if not problems:
        return {}
    programs = [Program(p.id, p.reference or "", p.kind, p.entry_point, p.inputs[:count]) for p in problems]
    with make_sandbox(_LIMITS) as sandbox:
        return {
            result.program_id: result.outputs[0].detail
            for result in sandbox.run(programs)
            if all(output.text is None for output in result.outputs)
        }


def _completed(starter_code: str) -> str:
    """Return the first lines as a module that only defines: with `pass` as the body, and a function to call."""
    lines = starter_code.rstrip().splitlines()
    indent = lines[-1][: len(lines[-1]) - len(lines[-1].lstrip())]
    head = starter_code.rstrip()
    # after the colon, after a comment behind it, or after a docstring, as in HumanEval
    bodies = (" pass", f"\n{indent}    pass", f"\n{indent}pass")
    code = next((head + body for body in bodies if parses(head + body)), head + bodies[0])
    return f"{code}\n\n\ndef {_LOADED}():\n    return 0\n"
