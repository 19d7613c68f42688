"""Read problems that a person has written by hand in a TOML file.

    [[problem]]
    statement = "Return n times 2."
    starter_code = "def double(n):"          # the first line of the answer; omit it for a program that reads stdin
    inputs = ["1", "0", "-3"]                # the arguments between the parentheses of the call, or stdin
    split = "train"                          # the default; validation and held-out may have a `reference`

`id` defaults to the file's name and the problem's number. Parsing TOML and finding line numbers is left to `load.py`.
"""

from __future__ import annotations

import ast
from typing import Any

from conself_local.problems.formats import own
from conself_local.problems.literals import parse_code
from conself_local.problems.problem import Problem


def problem_of(record: dict[str, Any], stem: str, number: int) -> Problem:
    """Return the problem of one `[[problem]]` table, the `number`-th (from 1) of the file named `stem`.

    Raises ValueError that names the field.
    """
    values = {"id": f"{stem}/{number}", "split": "train"} | record
    starter = values.get("starter_code", "")
    if not isinstance(starter, str):
        raise ValueError("starter_code is not text")
    texts = values.get("inputs")
    if not isinstance(texts, list) or not all(isinstance(t, str) for t in texts):
        raise ValueError('inputs must be a list of texts, as in inputs = ["1", "[1, 2], 3"]')
    if not starter and "entry_point" not in values:
        return own.problem_of(values | {"kind": "stdin"})
    name = values.get("entry_point") or _defined(starter)
    return own.problem_of(values | {"kind": "function", "entry_point": name, "inputs": [_call(text) for text in texts]})


def _defined(starter: str) -> str:
    try:
        tree = parse_code(f"{starter.rstrip()} pass")
    except ValueError as error:
        raise ValueError(
            f'starter_code is not the beginning of a function such as "def double(n):" ({error})'
        ) from error
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    if not names:
        raise ValueError('starter_code defines no function such as "def double(n):"')
    return names[-1]


def _call(text: str) -> str:
    return f"({text.strip().rstrip(',')},)" if text.strip() else "()"
