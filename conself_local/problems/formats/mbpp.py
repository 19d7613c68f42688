"""Read MBPP records from the user's file.

Test inputs are the literal arguments in the assertions; expected outputs are dropped. The function's name and its
number of arguments are added to the statement. Splits as published: 601-974 train, 511-600 validation, 11-510
held-out. Source: MBPP (Austin et al. 2021, CC BY 4.0).
"""

from __future__ import annotations

import ast
from typing import Any

from conself_local.problems.literals import MAX_LITERALS_CHARACTERS, parse_code
from conself_local.problems.problem import MAX_INPUTS, Problem, Split


def is_mbpp(record: dict[str, Any]) -> bool:
    """Return whether a record is of MBPP, original or sanitised, recognised by its fields."""
    return {"task_id", "code", "test_list"} <= set(record) and ("text" in record or "prompt" in record)


def problem_of(record: dict[str, Any]) -> Problem | None:
    """Return the problem of a record, or None for tasks 1-10, which are the few-shot examples.

    Only validation and held-out problems have a reference. Raises ValueError if the code does not parse, or if no
    assertion calls a function of it with literal arguments.
    """
    number = int(record["task_id"])
    if number <= 10:
        return None
    split: Split = "held-out" if number <= 510 else "validation" if number <= 600 else "train"
    code = str(record["code"]).replace("\r\n", "\n")
    defined = {node.name for node in ast.walk(parse_code(code)) if isinstance(node, ast.FunctionDef)}
    if len(record["test_list"]) > MAX_INPUTS:
        raise ValueError(f"it has more than {MAX_INPUTS} tests")
    if sum(map(len, record["test_list"])) > MAX_LITERALS_CHARACTERS:
        raise ValueError(f"its tests hold more than {MAX_LITERALS_CHARACTERS} characters together")
    calls = [call for test in record["test_list"] for call in _calls(test, defined)]
    if not calls:
        raise ValueError("no assertion calls a function of its code with literal arguments")
    name = calls[0][0]
    inputs = tuple(dict.fromkeys(repr(arguments) for called, arguments in calls if called == name))
    count = len(calls[0][1])
    parameters = ", ".join(f"arg{i}" for i in range(1, count + 1))
    return Problem(
        id=f"mbpp/{number}",
        statement=f"{record.get('text') or record['prompt']}\n\n"
        f"Name the function `{name}`; it takes {count} argument{'s' * (count != 1)}.",
        kind="function",
        inputs=tuple(ast.literal_eval(text) for text in inputs),
        split=split,
        entry_point=name,
        starter_code=f"def {name}({parameters}):",
        reference=None if split == "train" else code,
        origin="MBPP",
        licence="CC-BY-4.0",
    )


def _calls(test: str, defined: set[str]) -> list[tuple[str, tuple[object, ...]]]:
    found = []
    for node in ast.walk(parse_code(test)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in defined
            and not node.keywords
        ):
            try:
                arguments = tuple(ast.literal_eval(a) for a in node.args)
            except (ValueError, TypeError):
                continue  # an argument that is computed
            found.append((node.func.id, arguments))
    return found
