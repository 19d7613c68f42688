"""Read MBPP records from the user's file.

Test inputs are the literal arguments in the assertions; expected outputs are dropped. The function's name and its
number of arguments are added to the statement. Splits as published: 601-974 train, 511-600 validation, 11-510
held-out. Source: MBPP (Austin et al. 2021, CC BY 4.0).
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from conself_local.problems.formats.calls import literal_arguments, parameters_of_functions
from conself_local.problems.formats.fields import id_of, list_of, text_of
from conself_local.problems.literals import MAX_LITERALS_CHARACTERS, parse_code
from conself_local.problems.problem import MAX_INPUTS, Problem, Split

FIELDS = frozenset(("task_id", "code", "test_list", "text"))
"""In the sanitised file, `prompt` stands for `text`."""


def is_mbpp(record: dict[str, Any]) -> bool:
    """Return whether a record is of MBPP, original or sanitised, recognised by its fields."""
    return set(record) | ({"text"} if "prompt" in record else set()) >= FIELDS


def problem_of(record: dict[str, Any]) -> Problem | None:
    """Return the problem of a record, or None for tasks 1-10, which are the few-shot examples.

    Only validation and held-out problems have a reference. Raises ValueError if the code does not parse, or if no
    assertion calls a function of it with literal arguments.
    """
    number = task_number(record)
    if number <= 10:
        return None
    split: Split = "held-out" if number <= 510 else "validation" if number <= 600 else "train"
    code = text_of(record, "code").replace("\r\n", "\n")
    text = text_of(record, "prompt" if record.get("text") is None and "prompt" in record else "text")
    tests = list_of(record, "test_list", str)
    if len(tests) > MAX_INPUTS:
        raise ValueError(f"it has more than {MAX_INPUTS} tests")
    if sum(map(len, tests)) > MAX_LITERALS_CHARACTERS:
        raise ValueError(f"its tests hold more than {MAX_LITERALS_CHARACTERS} characters together")
    name, inputs = calls_of_tests(tests, parse_code(code))
    return Problem(
        id=f"mbpp/{number}",
        statement=statement_of(text, name, len(inputs[0])),
        kind="function",
        inputs=tuple(inputs),
        split=split,
        entry_point=name,
        starter_code=starter_of(name, len(inputs[0])),
        reference=None if split == "train" else code,
        origin="MBPP",
        licence="CC-BY-4.0",
    )


def task_number(record: dict[str, Any]) -> int:
    """Return the number of a task: of `601`, `"601"` or `"Mbpp/601"` it is 601. Raises ValueError for another id."""
    key = id_of(record, "task_id")
    number = key.rpartition("/")[2]
    if not number.isdecimal() or len(number) > 6:
        raise ValueError(f"its task_id {key[:40]!r} is not the number of a task of MBPP")
    return int(number)


def calls_of_tests(tests: Sequence[str], code: ast.Module) -> tuple[str, list[tuple[object, ...]]]:
    """Return the function of the code that the tests call first, and the different arguments that they give to it.

    Raises ValueError if there is none with literal arguments.
    """
    defined = parameters_of_functions(code)
    name, found = "", dict[str, tuple[object, ...]]()
    for call in (node for test in tests for node in ast.walk(parse_code(test)) if isinstance(node, ast.Call)):
        if isinstance(call.func, ast.Name) and call.func.id in defined and name in ("", call.func.id):
            try:
                arguments = literal_arguments(call, defined[call.func.id])
            except ValueError:
                continue  # an argument that is computed
            name = call.func.id
            found.setdefault(repr(arguments), arguments)
    if not found:
        raise ValueError("no assertion calls a function of its code with literal arguments")
    return name, list(found.values())


def statement_of(text: str, name: str, count: int) -> str:
    """Return the statement with the name of the function and its number of arguments."""
    return f"{text}\n\nName the function `{name}`; it takes {count} argument{'s' * (count != 1)}."


def starter_of(name: str, count: int) -> str:
    """Return the first line of the function: `starter_of("add", 2)` -> `"def add(arg1, arg2):"`."""
    return f"def {name}({', '.join(f'arg{i}' for i in range(1, count + 1))}):"
