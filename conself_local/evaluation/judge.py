"""Decide whether a program is right: compare its outputs with those of the reference program.

Both are canonical texts from the sandbox. They are compared as Python values (1 == 1.0 == True; list and tuple differ);
floats may differ by 1e-6, absolute or relative, also in sets and as keys, and NaN equals NaN. The comparison runs here,
in the parent process, never in the process of the program. Not covered: running the programs.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

TOLERANCE = 1e-6
"""Largest absolute or relative difference between equal floats."""
_MAX_EXPONENT = 10_000


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
        return _match_all([*zip(got.keys, got.values, strict=True)], [*zip(want.keys, want.values, strict=True)])
    given, wanted = _set_elements(got), _set_elements(want)
    if given is not None and wanted is not None:
        return _match_all([(element, None) for element in given], [(element, None) for element in wanted])
    if isinstance(got, ast.Call) and isinstance(want, ast.Call) and not (got.keywords or want.keywords):
        same_function = ast.dump(got.func) == ast.dump(want.func) and len(got.args) == len(want.args)
        return same_function and all(map(_equal, got.args, want.args))
    return bool(ast.literal_eval(got) == ast.literal_eval(want))


_Item = tuple[ast.expr | None, ast.expr | None]


def _match_all(given: list[_Item], wanted: list[_Item]) -> bool:
    """Return whether each item of a set or dictionary has an equal partner on the other side, within the tolerance."""
    if len(given) != len(wanted):
        return False
    left = list(wanted)
    for key, value in given:
        found = next((i for i, (k, v) in enumerate(left) if _both_equal(key, k) and _both_equal(value, v)), None)
        if found is None:
            return False
        left.pop(found)
    return True


def _both_equal(got: ast.expr | None, want: ast.expr | None) -> bool:
    if got is None or want is None:
        return got is want
    return _equal(got, want)


def _set_elements(node: ast.expr) -> list[ast.expr] | None:
    """Return the elements of a set or frozenset, or None for anything else."""
    if isinstance(node, ast.Set):
        return node.elts
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("set", "frozenset"):
        return _set_elements(node.args[0]) if node.args else []
    return None


def _number(node: ast.expr) -> int | float | Fraction | None:
    if isinstance(node, ast.Name) and node.id in ("nan", "inf"):
        return float(node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _number(node.operand)
        return None if inner is None else -inner
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        values = [argument.value if isinstance(argument, ast.Constant) else None for argument in node.args]
        if node.func.id == "Decimal" and len(values) == 1 and isinstance(values[0], str):
            return _decimal(values[0])
        if node.func.id == "Fraction" and len(node.args) == 2:
            above, below = (_number(argument) for argument in node.args)
            return Fraction(above, below) if isinstance(above, int) and isinstance(below, int) and below else None
    return None


def _decimal(text: str) -> float | Fraction | None:
    """Return a Decimal as an exact fraction, or as a float if it is not finite; None if its exponent is very large."""
    try:
        value = Decimal(text)
    except ArithmeticError:
        return None
    if not value.is_finite():
        return math.nan if value.is_nan() else float(value)
    return Fraction(value) if abs(value.adjusted()) <= _MAX_EXPONENT else None


def _numbers_equal(left: int | float | Fraction, right: int | float | Fraction) -> bool:
    if not isinstance(left, float) and not isinstance(right, float):
        return left == right
    try:
        one, other = float(left), float(right)
    except OverflowError:
        return False  # an int that is larger than every float
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
