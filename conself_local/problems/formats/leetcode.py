"""Read LeetCodeDataset records from the user's file.

Only descriptions and test inputs are taken, for training; expected outputs, solutions and tests are dropped. An input
is the text of a call's arguments, as in `nums = [3,3], target = 6`.
Source: LeetCodeDataset (Xia et al. 2025, Apache-2.0).
"""

from __future__ import annotations

import ast
from typing import Any

from conself_local.problems.formats.calls import literal_arguments, parameters_of
from conself_local.problems.formats.fields import id_of, json_of, text_of
from conself_local.problems.formats.starters import first_lines, verify_literal_inputs
from conself_local.problems.literals import parse_code
from conself_local.problems.problem import MAX_INPUTS, Problem

FIELDS = frozenset(("task_id", "problem_description", "starter_code", "entry_point", "input_output"))


def is_leetcode(record: dict[str, Any]) -> bool:
    """Return whether a record is of LeetCodeDataset, recognised by its fields."""
    return set(record) >= FIELDS


def problem_of(record: dict[str, Any]) -> Problem:
    """Return the training problem of a record. Raises ValueError if it cannot be used."""
    starter, entry_point = text_of(record, "starter_code"), text_of(record, "entry_point").replace("()", "")
    name = entry_point.rpartition(".")[2]
    head = first_lines(starter, name)
    if not head:
        raise ValueError(f"its starter_code does not define {name}")
    verify_literal_inputs(starter, head, name)
    parameters = parameters_of(parse_code(f"{head} pass"), name)
    cases = json_of(record, "input_output")
    if not isinstance(cases, list) or not all(isinstance(case, dict) for case in cases):
        raise ValueError("the field input_output is not a list of objects")
    inputs = [_arguments(text_of(case, "input"), parameters) for case in cases[:MAX_INPUTS]]
    return Problem(
        id=f"leetcode/{id_of(record, 'task_id', 'question_id')}",
        statement=text_of(record, "problem_description"),
        kind="function",
        inputs=tuple({repr(arguments): arguments for arguments in inputs}.values()),
        split="train",
        entry_point=entry_point,
        starter_code=head,
        origin="LeetCodeDataset",
        licence="Apache-2.0",
    )


def _arguments(text: str, parameters: list[str]) -> tuple[object, ...]:
    match parse_code(f"f({text})").body:
        case [ast.Expr(value=ast.Call() as call)]:
            return literal_arguments(call, parameters)
    raise ValueError(f"an input is not the arguments of a call: {text[:60]!r}")
