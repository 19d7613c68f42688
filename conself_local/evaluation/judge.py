"""Decide whether a program is right: compare its outputs with those of the reference program.

Both are canonical texts from the sandbox. They are compared as Python values (1 == 1.0 == True; list and tuple differ);
floats may differ by 1e-6, absolute or relative, and NaN equals NaN. The comparison runs here, in the parent process,
never in the process of the program. Not covered: running the programs.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence

TOLERANCE = 1e-6
"""Largest absolute or relative difference between equal floats."""


def is_correct(outputs: Sequence[str | None], expected: Sequence[str | None], *, kind: str) -> bool:
    """Return whether the program answers every input that the reference answered, and with an equal output.

    outputs, expected: (inputs,), None if there is no output. kind: outputs of `stdin` problems are compared as texts,
    others as Python values. False if the reference answered no input. Raises ValueError if the lengths differ.
    """
    judged = [(got, want) for got, want in zip(outputs, expected, strict=True) if want is not None]
    if not judged:
        return False
    if kind == "stdin":
        return all(got == want for got, want in judged)
    return all(got is not None and outputs_match(got, want) for got, want in judged)


def outputs_match(got: str, want: str) -> bool:
    """Return whether two canonical texts stand for equal Python values.

    `outputs_match("1.0", "1")` -> True; `outputs_match("[1]", "(1,)")` -> False. Texts that are not literals are equal
    only if they are identical.
    """
    if got == want:
        return True
    try:
        return _equal(ast.parse(got, mode="eval").body, ast.parse(want, mode="eval").body)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return False


def _equal(got: ast.expr, want: ast.expr) -> bool:
    left, right = _number(got), _number(want)
    if left is not None and right is not None:
        return _numbers_equal(left, right)
    if isinstance(got, ast.List | ast.Tuple) and type(got) is type(want):
        others = want.elts if isinstance(want, ast.List | ast.Tuple) else []
        return len(got.elts) == len(others) and all(map(_equal, got.elts, others))
    if isinstance(got, ast.Dict) and isinstance(want, ast.Dict):
        wanted = {ast.literal_eval(k): v for k, v in zip(want.keys, want.values, strict=True) if k is not None}
        given = {ast.literal_eval(k): v for k, v in zip(got.keys, got.values, strict=True) if k is not None}
        return given.keys() == wanted.keys() and all(_equal(value, wanted[key]) for key, value in given.items())
    return bool(ast.literal_eval(got) == ast.literal_eval(want))


def _number(node: ast.expr) -> int | float | None:
    if isinstance(node, ast.Name) and node.id in ("nan", "inf"):
        return float(node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _number(node.operand)
        return None if inner is None else -inner
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    return None


def _numbers_equal(left: int | float, right: int | float) -> bool:
    if isinstance(left, int) and isinstance(right, int):
        return left == right
    if math.isnan(left) or math.isnan(right):
        return math.isnan(left) and math.isnan(right)
    return math.isclose(left, right, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
