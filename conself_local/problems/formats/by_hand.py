"""Read problems that a person has written by hand in a TOML file, and write one to be changed by hand.

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
from conself_local.problems.literals import input_text, parse_code
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


def text_of(problem: Problem) -> str:
    """Return a problem as the text of a TOML file from which `problem_of` makes the same problem, but for its id.

    Not written: the id, and where a problem is from.
    """
    lines = ["[[problem]]", f"statement = {_long(problem.statement)}"]
    if problem.kind == "function":
        lines += [f"starter_code = {_long(problem.starter_code)}", f"entry_point = {_short(problem.entry_point)}"]
    texts = [input_text(value) for value in problem.inputs]
    if problem.kind == "function":
        texts = [text[1:-1].rstrip(",") for text in texts]
    lines += ["inputs = [", *(f"  {_short(text)}," for text in texts), "]"]
    return "\n".join(lines) + "\n"


def _long(text: str) -> str:
    """Return a text as a string of TOML that may have several lines; a line feed after the first quotes is none."""
    escaped = "\n".join(map(_escaped, text.split("\n"))).replace('"""', '\\"\\"\\"')
    if escaped.endswith('"'):
        escaped = f'{escaped[:-1]}\\"'
    return f'"""\n{escaped}"""'


def _short(text: str) -> str:
    return '"' + _escaped(text).replace('"', '\\"').replace("\n", "\\n") + '"'


def _escaped(text: str) -> str:
    return "".join("\\\\" if c == "\\" else c if c in "\n\t" or c.isprintable() else f"\\U{ord(c):08x}" for c in text)
