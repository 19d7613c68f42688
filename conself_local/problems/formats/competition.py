"""Read APPS, TACO and LiveCodeBench records from the user's file.

Only statements and test inputs are taken, for training; expected outputs and solutions are dropped. LiveCodeBench's
public tests are read; its private tests are pickles and are never read. Call-based problems keep their `Solution`
class or function.
Sources: APPS (Hendrycks et al. 2021, MIT), TACO (Li et al. 2023, Apache-2.0), LiveCodeBench.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from conself_local.problems.formats.fields import id_of, json_of, list_of, text_of
from conself_local.problems.formats.starters import first_lines, verify_literal_inputs
from conself_local.problems.problem import MAX_INPUTS, Problem

FIELDS = frozenset(("question", "input_output"))
"""Fields of APPS and TACO."""
BENCH_FIELDS = frozenset(("question_content", "question_id", "public_test_cases"))
"""Fields of LiveCodeBench."""


def is_competition(record: dict[str, Any]) -> bool:
    """Return whether a record is of APPS, TACO or LiveCodeBench, recognised by its fields."""
    return set(record) >= BENCH_FIELDS or set(record) >= FIELDS


def problem_of(record: dict[str, Any], number: int) -> Problem:
    """Return the training problem of a record.

    number: the record's line, which replaces a missing id. Raises ValueError if the record cannot be used.
    """
    if set(record) >= BENCH_FIELDS:
        return _of_live_code_bench(record)
    tests = json_of(record, "input_output")
    if not isinstance(tests, dict) or not isinstance(tests.get("inputs"), list):
        raise ValueError("input_output contains no inputs")
    name = tests.get("fn_name")
    is_taco = "problem_id" not in record
    inputs = [_arguments(i) if name else _stdin(i) for i in tests["inputs"]]
    return _problem(
        f"{'taco' if is_taco else 'apps'}/{id_of({'line': number} | record, 'problem_id', 'id', 'url', 'line')}",
        text_of(record, "question"),
        inputs,
        str(name or ""),
        str(record.get("starter_code") or ""),
        "TACO" if is_taco else "APPS",
        "Apache-2.0" if is_taco else "MIT",
    )


def _of_live_code_bench(record: dict[str, Any]) -> Problem:
    tests = list_of({"public_test_cases": json_of(record, "public_test_cases")}, "public_test_cases", dict)
    functional = any(test.get("testtype") == "functional" for test in tests)
    metadata = json_of(record, "metadata") if record.get("metadata") else {}
    name = str(metadata.get("func_name") or "") if functional and isinstance(metadata, dict) else ""
    if functional and not name:
        raise ValueError("metadata names no function")
    texts = [text_of(test, "input") for test in tests]
    return _problem(
        f"livecodebench/{id_of(record, 'question_id')}",
        text_of(record, "question_content"),
        [_values(text) for text in texts] if functional else texts,
        name,
        str(record.get("starter_code") or ""),
        "LiveCodeBench",
        "",
    )


def _problem(
    key: str, statement: str, inputs: Sequence[object], name: str, starter: str, origin: str, licence: str
) -> Problem:
    different = list({repr(i): i for i in inputs}.values())[:MAX_INPUTS]
    if not name:
        return Problem(key, statement, "stdin", tuple(different), "train", origin=origin, licence=licence)
    entry_point = f"Solution.{name}" if "class Solution" in starter else name
    head = first_lines(starter, name)
    verify_literal_inputs(starter, head, name)
    return Problem(
        key,
        statement,
        "function",
        tuple(different),
        "train",
        entry_point,
        head,
        origin=origin,
        licence=licence,
    )


def _values(text: str) -> tuple[object, ...]:
    """Return the arguments of a call, one JSON value a line."""
    try:
        return tuple(json.loads(line) for line in text.splitlines() if line.strip())
    except ValueError as error:
        raise ValueError(f"an input is not one JSON value a line: {text[:60]!r}") from error


def _arguments(value: object) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise ValueError("an input of a call-based problem is not a list of arguments")
    return tuple(value)


def _stdin(value: object) -> str:
    """Return standard input as text; `value` is the text or a list of its lines."""
    if isinstance(value, list):
        return "\n".join(str(line) for line in value)
    if not isinstance(value, str):
        raise ValueError("an input of a stdin problem is not text")
    return value
