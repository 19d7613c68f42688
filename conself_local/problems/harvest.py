"""Make problems from the user's own Python functions.

A function is taken if it looks pure, has a docstring, and has parameters that literals can fill. Only the syntax tree
is read; nothing is imported. A function is excluded, with the reason, if it uses files, the network, clocks, random
numbers or globals, if it calls anything that is not known to be pure, or if it contains something like a secret.
Definitions that it needs from its module are copied with it. The code becomes the reference of a validation problem;
a training problem never has one.
Not covered: whether a function runs; the sandbox finds that out (`keep_runnable`).
"""

from __future__ import annotations

import ast
import builtins
import copy
import hashlib
import re
import symtable
import typing
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from conself_local.foreign_files import PARSER_ERRORS, read_text, reason, refusing
from conself_local.problems.inputs import example_calls, make_inputs
from conself_local.problems.problem import Problem
from sandbox import Limits, MakeSandbox, Program

PURE_MODULES = {
    "bisect",
    "cmath",
    "collections",
    "copy",
    "dataclasses",
    "decimal",
    "enum",
    "fractions",
    "functools",
    "heapq",
    "itertools",
    "math",
    "numbers",
    "operator",
    "re",
    "statistics",
    "string",
    "textwrap",
    "typing",
    "unicodedata",
    "__future__",
}
_IMPURE_BUILTINS = {
    "open",
    "input",
    "print",
    "exec",
    "eval",
    "compile",
    "__import__",
    "globals",
    "locals",
    "vars",
    "id",
    "breakpoint",
    "exit",
    "quit",
    "memoryview",
    "setattr",
    "delattr",
    "help",
}
_SECRET = re.compile(
    r"AKIA[0-9A-Z]{12}|sk-[A-Za-z0-9]{16}|ghp_\w{20}|-----BEGIN|(?i:passw(or)?d|api_?key|secret)\s*[=:]\s*['\"]"
)
_BUILTINS, _TYPING = frozenset(dir(builtins)), frozenset(typing.__all__)
_MAX_FILE_BYTES = 1_000_000
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


@dataclass(frozen=True)
class Harvested:
    """A function that was examined: its problem, or the reason why it has none."""

    where: str
    """Position as `file:line name`; the file alone if it cannot be read."""
    problem: Problem | None
    exclusion_reason: str
    source: str
    """The function and the definitions that it needs, which can become the reference; empty without a problem."""


def harvest(path: Path, seed: int) -> Iterator[Harvested]:
    """Yield a result for every module-level function of a file, or of all Python files under a folder.

    Skipped: functions whose names begin with `_` or `test`, `async` functions, files larger than 1 MB and, under a
    folder, subfolders such as `tests`, `docs` and `build`. The inputs of a problem are drawn by `seed`.
    Raises ConselfError if `path` is a file that cannot be read.
    """
    if not path.is_dir():
        with refusing(f"{path} cannot be read", "give a Python file, or a folder with some"):
            module = _Module(read_text(path, _MAX_FILE_BYTES))
        yield from _harvest_module(module, path.name, seed)
        return
    for file in sorted(path.rglob("*.py")):
        inside = file.relative_to(path)
        if _SKIPPED_FOLDERS & set(inside.parts) or file.is_dir():
            continue
        try:
            module = _Module(read_text(file, _MAX_FILE_BYTES))
        except (OSError, *PARSER_ERRORS) as error:
            yield Harvested(str(inside), None, f"cannot be read: {reason(error)}", "")
        else:
            yield from _harvest_module(module, str(inside), seed)


def _harvest_module(module: _Module, shown: str, seed: int) -> Iterator[Harvested]:
    for node in module.tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith(("_", "test")):
            where = f"{shown}:{node.lineno} {node.name}"
            try:
                source = module.source_with_dependencies(node)
                yield Harvested(where, _problem(node, where, source, seed, module), "", source)
            except PARSER_ERRORS as error:
                yield Harvested(where, None, reason(error), "")


class _Module:
    """The functions, constants and imports at the top level of one file. Raises SyntaxError if it does not parse."""

    def __init__(self, text: str) -> None:
        with warnings.catch_warnings(action="ignore"):
            self.tree = ast.parse(text)
        self._text = text
        self._functions = {n.name: n for n in self.tree.body if isinstance(n, ast.FunctionDef)}
        self._constants: dict[str, ast.stmt] = {}
        self._imports: dict[str, tuple[str, ast.stmt]] = {}
        for node in self.tree.body:
            if isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                self._constants |= {t.id: node for t in targets if isinstance(t, ast.Name)}
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    self._imports[alias.asname or alias.name.partition(".")[0]] = (alias.name, ast.Import([alias]))
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    origin = "." * node.level + (node.module or "")
                    self._imports[alias.asname or alias.name] = (
                        origin,
                        ast.ImportFrom(node.module, [alias], node.level),
                    )

    def without_names(self, default: ast.expr) -> ast.expr:
        """Return a default that needs nothing of the module: itself, the constant that it names, or `...`."""
        if isinstance(default, ast.Name) and default.id in self._constants:
            default = getattr(self._constants[default.id], "value", None) or default
        return default if _names(default) <= _BUILTINS else ast.Constant(...)

    def source_with_dependencies(self, function: ast.FunctionDef) -> str:
        """Return the function's source and all that it needs. Raises ValueError that says what does not look pure."""
        wanted: dict[str, ast.stmt] = {}
        self._collect(function, wanted)
        order = sorted(
            wanted.values(), key=lambda n: (not isinstance(n, ast.Import | ast.ImportFrom), getattr(n, "lineno", 0))
        )
        source = "\n\n".join(ast.unparse(n) for n in dict.fromkeys(order)) + "\n"
        if _SECRET.search(source):
            raise ValueError("it contains something like a secret")
        return source

    def _collect(self, node: ast.stmt, wanted: dict[str, ast.stmt]) -> None:
        name = getattr(node, "name", ast.unparse(node)[:40])
        wanted[name] = node
        _verify_statements(node)
        for used in sorted(_free_names(node)):
            if used in wanted or used == name:
                continue
            if used in self._functions:
                if self._functions[used].decorator_list:
                    raise ValueError(f"it calls {used}, which is decorated")
                self._collect(self._functions[used], wanted)
            elif used in self._imports:
                origin, statement = self._imports[used]
                if origin.partition(".")[0] not in PURE_MODULES:
                    raise ValueError(
                        f"it uses {'its own package' if origin.startswith('.') else origin}, "
                        "which is not known to be pure"
                    )
                wanted[used] = statement
            elif used in self._constants:
                wanted[used] = self._constants[used]  # before what it needs, which may be itself
                self._collect(self._constants[used], wanted)
            elif used in _IMPURE_BUILTINS or not hasattr(builtins, used):
                raise ValueError(f"it uses {used}")


def _verify_statements(node: ast.stmt) -> None:
    for part in ast.walk(node):
        if isinstance(
            part, ast.Global | ast.Nonlocal | ast.Yield | ast.YieldFrom | ast.Await | ast.Import | ast.ImportFrom
        ):
            raise ValueError(f"it has {type(part).__name__.lower()} in it")


def _free_names(node: ast.stmt) -> set[str]:
    """Return the names that a statement reads but does not define."""
    free: set[str] = set()

    def visit(table: symtable.SymbolTable) -> None:
        free.update(s.get_name() for s in table.get_symbols() if s.is_global() and s.is_referenced())
        for child in table.get_children():
            visit(child)

    top = symtable.symtable(ast.unparse(node), "harvest", "exec")
    for symbol in top.get_symbols():
        if symbol.is_referenced() and not symbol.is_assigned():
            free.add(symbol.get_name())
    for child in top.get_children():
        visit(child)
    return free


def _problem(node: ast.FunctionDef, where: str, source: str, seed: int, module: _Module) -> Problem:
    docstring = ast.get_docstring(node)
    if node.decorator_list:
        raise ValueError("it is decorated")
    if not docstring or len(docstring) < 15:
        raise ValueError("it has no docstring, or one of less than 15 characters")
    if (node.end_lineno or 0) - node.lineno > _MAX_LINES:
        raise ValueError(f"it is longer than {_MAX_LINES} lines")
    arguments = node.args
    if arguments.vararg or arguments.kwarg or arguments.kwonlyargs or not (arguments.args or arguments.posonlyargs):
        raise ValueError("its parameters are not a plain list: it takes none, or *args, **kwargs or keyword-only ones")
    inputs = make_inputs(node, example_calls(docstring, node.name), seed)
    bare = _first_line(node, module)
    return Problem(
        id=f"harvest/{hashlib.sha256(where.encode()).hexdigest()[:8]}/{node.name}",
        statement=docstring,
        kind="function",
        inputs=tuple(inputs),
        split="train",
        entry_point=node.name,
        starter_code=bare,
        origin=where,
        licence="your own",
    )


def _first_line(node: ast.FunctionDef, module: _Module) -> str:
    """Return `def name(parameters) -> result:`, the starter code, which runs without the module that it is from.

    A default that is a constant of the module is written out; another one that needs the module becomes `...`, and an
    annotation that needs it is left out. If the line uses a name of `typing`, an import of everything there is put
    before it.
    """
    arguments = copy.deepcopy(node.args)
    arguments.defaults = [module.without_names(default) for default in arguments.defaults]
    for argument in (*arguments.posonlyargs, *arguments.args):
        argument.annotation = _known_annotation(argument.annotation)
    bare = ast.FunctionDef(node.name, arguments, [ast.Pass()], [], _known_annotation(node.returns), lineno=0)
    text = ast.unparse(ast.fix_missing_locations(bare)).rsplit("\n", 1)[0]
    return text if _names(ast.parse(f"{text} pass")) <= _BUILTINS else f"from typing import *\n\n\n{text}"


def _known_annotation(annotation: ast.expr | None) -> ast.expr | None:
    """Return an annotation that needs only builtins and the names of `typing`; None for another one."""
    return annotation if annotation is not None and _names(annotation) <= _BUILTINS | _TYPING else None


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def keep_runnable(found: Sequence[Harvested], make_sandbox: MakeSandbox, seed: int) -> list[Problem]:
    """Return the problems whose code answers at least one input, each with only the inputs that it answers.

    The code runs in the sandbox. About `VALIDATION_SHARE` of the problems, drawn by the seed, become validation
    problems with the code as reference; the others are training problems without one.
    """
    with_problem = [(h, h.problem) for h in found if h.problem]
    programs = [Program(p.id, h.source, "function", p.entry_point, p.inputs) for h, p in with_problem]
    with make_sandbox(Limits(wall_s=2.0)) as sandbox:
        results = {result.program_id: result for result in sandbox.run(programs)}
    kept = []
    for harvested, problem in with_problem:
        answered = [
            i for i, output in zip(problem.inputs, results[problem.id].outputs, strict=True) if output.text is not None
        ]
        if not answered:
            continue
        draw = int(hashlib.sha256(f"{seed}/{problem.id}".encode()).hexdigest()[:8], 16) / 2**32
        validation = draw < VALIDATION_SHARE
        split, reference = ("validation", harvested.source) if validation else ("train", None)
        kept.append(replace(problem, inputs=tuple(answered), split=split, reference=reference))  # type: ignore[arg-type]
    return kept
