"""Behaviours and their comparison keys.

A behaviour is a tuple of keys, one an input, `None` where the program failed. The key is made from the canonical
text that the sandbox returns: dict keys sorted, floats to 12 significant digits, -0.0 as 0.0, NaN equal to NaN;
`True` and `1`, tuple and list, `'1'` and `1` stay different. What is stored is the exact text.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence

Behaviour = tuple[str | None, ...]
_CONSTANT_FROM = 3


def crash_rate(behaviours: Sequence[Behaviour]) -> float:
    """Share of samples that failed on every input; 0.0 of no samples.

    Five samples of which one has only `None`: 0.2. Source: arXiv 2603.29292, section on the curriculum.
    """
    return sum(is_crashed(b) for b in behaviours) / len(behaviours) if behaviours else 0.0


def is_crashed(behaviour: Behaviour) -> bool:
    """Failed on every input."""
    return all(output is None for output in behaviour)


def is_constant(behaviour: Behaviour) -> bool:
    """At least three inputs were answered, and all of them alike: such a program prints instead of returning, or guesses.

    `("None", "None", None, "None")` -> True; of `("1", "1")` nothing can be said -> False.
    """
    answered = [output for output in behaviour if output is not None]
    return len(answered) >= _CONSTANT_FROM and len(set(answered)) == 1


def comparison_key(text: str) -> str:
    """The key of a canonical text of a function's value. `"{'b': -0.0, 'a': 0.30000000000000004}"` -> `"{'a': 0.3, 'b': 0.0}"`.

    A text that is no literal (a program can print anything) is its own key.
    """
    if text.isdigit() or text in ("None", "True", "False"):
        return text
    try:
        return _key(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return text


def _key(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return _float_key(node.value) if isinstance(node.value, float) else ascii(node.value)
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _key(node.operand)
        return inner if inner == "0.0" else "-" + inner
    if isinstance(node, ast.List):
        return "[" + ", ".join(map(_key, node.elts)) + "]"
    if isinstance(node, ast.Tuple):
        return "(" + ", ".join(map(_key, node.elts)) + (",)" if len(node.elts) == 1 else ")")
    if isinstance(node, ast.Set):
        return "{" + ", ".join(sorted(map(_key, node.elts))) + "}"
    if isinstance(node, ast.Dict):
        pairs = [(_key(k), _key(v)) for k, v in zip(node.keys, node.values, strict=True) if k is not None]
        return "{" + ", ".join(f"{k}: {v}" for k, v in sorted(pairs)) + "}"
    if isinstance(node, ast.Call):
        return f"{ast.unparse(node.func)}({', '.join(map(_key, node.args))})"
    raise ValueError("not a canonical text")


def _float_key(value: float) -> str:
    if math.isinf(value):
        return "inf"
    rounded = float(f"{value:.12g}")
    return repr(abs(rounded) if rounded == 0 else rounded)
