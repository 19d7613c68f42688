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

from conself_local.problems.literals import parse_code
from conself_local.problems.problem import MAX_INPUTS, Problem

_TYPING = "from typing import *\n\n\n"
"""Put before starter code, which in these sets uses `List` and `Optional` without importing them."""


def is_competition(record: dict[str, Any]) -> bool:
    """Return whether a record is of APPS, TACO or LiveCodeBench, recognised by its fields."""
    return _is_live_code_bench(record) or {"question", "input_output"} <= set(record)


def _is_live_code_bench(record: dict[str, Any]) -> bool:
    return {"question_content", "public_test_cases"} <= set(record)


def problem_of(record: dict[str, Any], number: int) -> Problem:
    """Return the training problem of a record.

    number: the record's line, which replaces a missing id. Raises ValueError or KeyError if the record cannot be used.
    """
    if _is_live_code_bench(record):
        return _of_live_code_bench(record)
    tests = _json(record, "input_output")
    if not isinstance(tests, dict) or not isinstance(tests.get("inputs"), list):
        raise ValueError("input_output contains no inputs")
    name = tests.get("fn_name")
    is_taco = "problem_id" not in record
    key = next((record[name] for name in ("problem_id", "id", "url") if record.get(name) not in (None, "")), number)
    inputs = [_arguments(i) if name else _stdin(i) for i in tests["inputs"]]
    return _problem(
        f"{'taco' if is_taco else 'apps'}/{key}",
        str(record["question"]),
        inputs,
        str(name or ""),
        str(record.get("starter_code") or ""),
        "TACO" if is_taco else "APPS",
        "Apache-2.0" if is_taco else "MIT",
    )


def _json(record: dict[str, Any], name: str) -> Any:
    """Return the value of a field that holds JSON as text, or that was parsed already."""
    value = record[name]
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise ValueError(f"{name} is not valid JSON ({error})") from error


def _of_live_code_bench(record: dict[str, Any]) -> Problem:
    tests = _json(record, "public_test_cases")
    functional = any(test["testtype"] == "functional" for test in tests)
    metadata = _json(record, "metadata") if record.get("metadata") else {}
    name = str(metadata.get("func_name") or "") if functional else ""
    if functional and not name:
        raise ValueError("metadata names no function")
    inputs = [
        tuple(json.loads(line) for line in test["input"].splitlines()) if functional else test["input"]
        for test in tests
    ]
    return _problem(
        f"livecodebench/{record['question_id']}",
        str(record["question_content"]),
        inputs,
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
    return Problem(
        key,
        statement,
        "function",
        tuple(different),
        "train",
        entry_point,
        _first_lines(starter, name),
        origin=origin,
        licence=licence,
    )


def _first_lines(starter: str, name: str) -> str:
    """Return the starter code up to the colon of the function's `def`, or an empty text if it has none."""
    lines = starter.rstrip().splitlines()
    for i, line in enumerate(lines):
        if line.strip().startswith(f"def {name}(") and line.rstrip().endswith(":"):
            head = "\n".join(lines[: i + 1])
            try:
                parse_code(f"{head} pass")
            except ValueError:
                return ""
            return _TYPING + head if "->" in line or ": " in line else head
    return ""


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
