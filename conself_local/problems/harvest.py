"""Make problems from the user's own Python functions.

A function is taken if it looks pure (`standalone.py`), has a docstring, and has parameters that literals can fill. Only
the syntax tree is read; nothing is imported. The docstring becomes the statement: its calls stay, its expected outputs
go. The code becomes the reference of a validation problem; a training problem never has one.
Not covered: whether a function runs; the sandbox finds that out (`keep_runnable`).
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from conself_local.foreign_files import PARSER_ERRORS, reason, refusing
from conself_local.problems.examples import example_calls
from conself_local.problems.first_line import first_line
from conself_local.problems.inputs import INPUTS, make_inputs
from conself_local.problems.licences import licence_of
from conself_local.problems.problem import MAX_STATEMENT_CHARACTERS, Problem
from conself_local.problems.runnable import first_lines_that_fail
from conself_local.problems.source_modules import SourceModule, SourcePackage
from conself_local.problems.standalone import as_list, gives_iterator, is_cached_only, standalone_source
from conself_local.problems.statements import WITH_OUTPUTS, without_outputs
from sandbox import Limits, MakeSandbox, Output, Program, ProgramResult, Sandbox, Status

_MAX_LINES = 60
_SKIPPED_FOLDERS = {
    "test",
    "tests",
    "testing",
    "docs",
    "examples",
    "build",
    "dist",
    "site-packages",
    "node_modules",
    "__pycache__",
}
VALIDATION_SHARE = 0.2
"""Probability that a harvested problem becomes a validation problem."""
_SLOW_SHARE = 0.1
"""An input that takes the function longer than this share of a program's limit is dropped: answers may be slower."""
AS_LIST_SENTENCE = "\n\nReturn the values as a list."
_MAX_TIMEOUTS = 4
"""Time-outs after which the other inputs of a function are not tried."""
_WALL_S = 1.0
"""Limit per input here; it only has to exceed the share of the limit by enough for a busy computer."""


@dataclass(frozen=True)
class Harvested:
    """A function that was examined: its problem, or the reason why it has none."""

    where: str
    """Position as `file:line name`; the file alone if it cannot be read."""
    problem: Problem | None
    exclusion_reason: str
    source: str
    """The function and the definitions that it needs, which can become the reference; empty without a problem."""


def harvest(path: Path, seed: int, *, keep_examples: bool = False) -> Iterator[Harvested]:
    """Yield a result for every module-level function of a file, or of all Python files under a folder.

    Skipped: functions whose names begin with `_` or `test`, `async` functions, files larger than 1 MB and, under a
    folder, subfolders such as `tests`, `docs` and `build`. The inputs of a problem are drawn by `seed`. With
    `keep_examples`, statements keep the expected outputs of their examples.
    Raises ConselfError if `path` is a file that cannot be read.
    """
    if not path.is_dir():
        with refusing(f"{path} cannot be read", "give a Python file, or a folder with some"):
            module = SourcePackage.of(path).module(path)
        yield from _harvest_module(module, path, path.name, seed, keep_examples)
        return
    for file in sorted(path.rglob("*.py")):
        inside = file.relative_to(path)
        if _SKIPPED_FOLDERS & set(inside.parts) or file.is_dir():
            continue
        try:
            module = SourcePackage.of(file).module(file)
        except (OSError, *PARSER_ERRORS) as error:
            yield Harvested(str(inside), None, f"cannot be read: {reason(error)}", "")
        else:
            yield from _harvest_module(module, file, str(inside), seed, keep_examples)


def _harvest_module(
    module: SourceModule, file: Path, place: str, seed: int, keep_examples: bool
) -> Iterator[Harvested]:
    for node in module.tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith(("_", "test")):
            where = f"{place}:{node.lineno} {node.name}"
            try:
                _verify_shape(node, module)
                source = standalone_source(node, module)
                problem = _problem(node, module, where, seed, keep_examples)
                yield Harvested(where, replace(problem, licence=licence_of(file)), "", source)
            except (OSError, *PARSER_ERRORS) as error:
                yield Harvested(where, None, reason(error), "")


def _verify_shape(node: ast.FunctionDef, module: SourceModule) -> None:
    """Raise ValueError if a function has no docstring, is long or decorated, or needs keyword arguments."""
    if not is_cached_only(node, module):
        raise ValueError("it is decorated")
    docstring = ast.get_docstring(node) or ""
    if not 15 <= len(docstring) <= MAX_STATEMENT_CHARACTERS:
        raise ValueError(f"its docstring has less than 15 or more than {MAX_STATEMENT_CHARACTERS} characters")
    if (node.end_lineno or 0) - node.lineno > _MAX_LINES:
        raise ValueError(f"it is longer than {_MAX_LINES} lines")
    arguments = node.args
    if not (arguments.args or arguments.posonlyargs or arguments.vararg):
        raise ValueError("it has no parameters that a call can fill by position")
    if None in arguments.kw_defaults:
        raise ValueError("it has a parameter that only a keyword can pass")


def _problem(node: ast.FunctionDef, module: SourceModule, where: str, seed: int, keep_examples: bool) -> Problem:
    docstring = ast.get_docstring(node) or ""
    statement = docstring if keep_examples else without_outputs(docstring, node.name)
    if gives_iterator(node):
        statement += AS_LIST_SENTENCE
    return Problem(
        id=f"harvest/{hashlib.sha256(where.encode()).hexdigest()[:8]}/{node.name}",
        statement=statement,
        kind="function",
        inputs=tuple(make_inputs(node, example_calls(docstring, node), seed)),
        split="train",
        entry_point=node.name,
        starter_code=first_line(node, module),
        origin=f"{where}{WITH_OUTPUTS}" if keep_examples else where,
    )


def keep_runnable(found: Sequence[Harvested], make_sandbox: MakeSandbox, seed: int) -> list[Problem]:
    """Return the problems whose code answers at least one input, each with at most `INPUTS` inputs that it answers.

    The code runs in the sandbox, and so do the prescribed first lines. An input that takes the code longer than a tenth
    of a program's limit is dropped. About `VALIDATION_SHARE` of the problems, drawn by the seed, become validation
    problems with the code as reference; the others are training problems without one.
    """
    failing = first_lines_that_fail([h.problem for h in found if h.problem], make_sandbox)
    found = [h for h in found if h.problem and h.problem.id not in failing]
    with make_sandbox(Limits(wall_s=_WALL_S, max_timeouts=_MAX_TIMEOUTS)) as sandbox:
        results = _run(found, sandbox)
        listed = [_listed(h) for h in found if h.problem and _is_refused(results[h.problem.id])]
        results |= _run(listed, sandbox)
    replaced = {h.where: h for h in listed}
    kept = []
    for harvested in (replaced.get(h.where, h) for h in found):
        if problem := harvested.problem:
            result = results[problem.id]
            answered = [i for i, output in zip(problem.inputs, result.outputs, strict=True) if _is_answered(output)]
            if answered and result.deterministic is not False:
                problem = replace(problem, inputs=tuple(answered[:INPUTS]))
                kept.append(_with_split(problem, harvested.source, seed))
    return kept


def _run(found: Sequence[Harvested], sandbox: Sandbox) -> dict[str, ProgramResult]:
    programs = [
        Program(h.problem.id, h.source, "function", h.problem.entry_point, h.problem.inputs) for h in found if h.problem
    ]
    return {result.program_id: result for result in sandbox.run(programs)}


def _is_refused(result: ProgramResult) -> bool:
    """Return whether a function returned values, but none that has a text: perhaps iterators."""
    statuses = {output.status for output in result.outputs}
    return Status.REFUSED in statuses and Status.OK not in statuses


def _listed(harvested: Harvested) -> Harvested:
    problem = harvested.problem
    assert problem is not None, "only functions with a problem were run"
    listed = replace(problem, statement=problem.statement.removesuffix(AS_LIST_SENTENCE) + AS_LIST_SENTENCE)
    return replace(harvested, problem=listed, source=as_list(harvested.source, problem.entry_point))


def _with_split(problem: Problem, source: str, seed: int) -> Problem:
    draw = int(hashlib.sha256(f"{seed}/{problem.id}".encode()).hexdigest()[:8], 16) / 2**32
    return replace(problem, split="validation", reference=source) if draw < VALIDATION_SHARE else problem


def _is_answered(output: Output) -> bool:
    return output.text is not None and output.cpu_s <= _SLOW_SHARE * Limits().wall_s
