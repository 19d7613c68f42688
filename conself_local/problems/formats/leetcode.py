"""Read LeetCodeDataset records from the user's file.

Only descriptions and test inputs are taken, for training; expected outputs, solutions and tests are dropped. An input
is the text of a call's arguments, as in `nums = [3,3], target = 6`.
Source: LeetCodeDataset (Xia et al. 2025, Apache-2.0).
"""

from __future__ import annotations

import ast
from typing import Any

from conself_local.problems.formats.calls import literal_arguments, parameters_of_functions
from conself_local.problems.formats.fields import id_of, json_of, list_of, text_of
from conself_local.problems.formats.starters import first_lines, verify_literal_inputs
from conself_local.problems.literals import MAX_LITERALS_CHARACTERS, parse_code
from conself_local.problems.problem import MAX_INPUTS, Problem

FIELDS = frozenset(("task_id", "problem_description", "starter_code", "entry_point", "input_output"))
_OLDER = {"question_title": "problem_description", "lang_code": "starter_code"}
"""Fields of `meta` in the older files -> the fields of today."""


def is_leetcode(record: dict[str, Any]) -> bool:
    """Return whether a record is of LeetCodeDataset, recognised by its fields."""
    return set(_of_today(record)) >= FIELDS


def problem_of(record: dict[str, Any]) -> Problem:
    """Return the training problem of a record. Raises ValueError if it cannot be used.

    Inputs that are not the literal arguments of a call are skipped, unless all of them are.
    """
    record = _of_today(record)
    starter, entry_point = text_of(record, "starter_code"), text_of(record, "entry_point").replace("()", "")
    name = entry_point.rpartition(".")[2]
    head = first_lines(starter, name)
    if not head:
        raise ValueError(f"its starter_code does not define {name}")
    verify_literal_inputs(starter, head, name)
    parameters = parameters_of_functions(parse_code(f"{head} pass"))[name]
    cases = json_of(record, "input_output")
    return Problem(
        id=f"leetcode/{id_of(record, 'task_id', 'question_id')}",
        statement=text_of(record, "problem_description"),
        kind="function",
        inputs=tuple(_inputs(list_of({"input_output": cases}, "input_output", dict), parameters)),
        split="train",
        entry_point=entry_point,
        starter_code=head,
        origin="LeetCodeDataset",
        licence="Apache-2.0",
    )


def _of_today(record: dict[str, Any]) -> dict[str, Any]:
    """Return the record with the fields of today's files."""
    meta = record.get("meta")
    older = {_OLDER[name]: value for name, value in meta.items() if name in _OLDER} if isinstance(meta, dict) else {}
    cases = {"input_output": record["examples"]} if older and "examples" in record else {}
    return older | cases | record


def _inputs(cases: list[dict[str, Any]], parameters: list[str]) -> list[tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    why = ValueError("it has no test inputs")
    left = MAX_LITERALS_CHARACTERS
    for case in cases[:MAX_INPUTS]:
        try:
            text = text_of(case, "input")
            left -= len(text)
            if left < 0:
                raise ValueError(f"its inputs hold more than {MAX_LITERALS_CHARACTERS} characters together")
            arguments = _arguments(text, parameters)
            found.setdefault(repr(arguments), arguments)
        except ValueError as error:
            why = error
    if not found:
        raise why
    return list(found.values())


def _arguments(text: str, parameters: list[str]) -> tuple[object, ...]:
    match parse_code(f"f({text})").body:
        case [ast.Expr(value=ast.Call() as call)]:
            return literal_arguments(call, parameters)
    raise ValueError(f"an input is not the arguments of a call: {text[:60]!r}")
