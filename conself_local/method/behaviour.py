"""Define behaviours, and the comparison keys that decide whether two outputs are equal.

A behaviour is a tuple with one comparison key per test input, and `None` where the program failed. The key is made
from the canonical text that the sandbox returns: dict keys and set elements are sorted, floats are rounded to 12
significant digits, -0.0 becomes 0.0, and NaN equals NaN; `True` and `1`, a tuple and a list, `'1'` and `1` remain
different.

Not covered: running programs, and storing outputs (the store keeps the exact text, not the key).
Source: arXiv 2603.29292. The keys are an addition of this project; the preset `paper` compares the canonical texts.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence

Behaviour = tuple[str | None, ...]
"""One comparison key per test input, in the order of the inputs; None where the program failed."""
_MIN_ANSWERS_FOR_CONSTANT = 3


def crash_rate(behaviours: Sequence[Behaviour]) -> float:
    """Return the share of samples that failed on every input, in [0, 1]; 0.0 if there are no samples.

    `behaviours` holds one behaviour per sample; a program counts as often as it was sampled.
    Example: of the five samples a to e only e failed on every input, so the crash rate is 1/5.
    Source: arXiv 2603.29292, section on the curriculum.
    """
    return sum(is_crashed(b) for b in behaviours) / len(behaviours) if behaviours else 0.0


def is_crashed(behaviour: Behaviour) -> bool:
    """Return whether the program failed on every input; True for a behaviour without inputs."""
    return all(output is None for output in behaviour)


def is_constant(behaviour: Behaviour) -> bool:
    """Return whether the program answered at least three inputs and gave the same output for all of them.

    Such a program usually prints instead of returning a value, or guesses. Inputs on which it failed do not count.
    Examples: `("1", None, "1", "1")` -> True; `("1", "1", "2")` -> False; `("1", "1")` -> False, since two answers
    are too few to decide.
    """
    answered = [output for output in behaviour if output is not None]
    return len(answered) >= _MIN_ANSWERS_FOR_CONSTANT and len(set(answered)) == 1


def comparison_key(text: str) -> str:
    """Return the comparison key of `text`, the canonical text of a value that a function returned.

    Example: `"{'b': -0.0, 'a': 0.30000000000000004}"` -> `"{'a': 0.3, 'b': 0.0}"`.
    A text that is not a canonical text (a program can print anything) is its own key.
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
        named = [f"{keyword.arg}={_key(keyword.value)}" for keyword in node.keywords if keyword.arg]
        return f"{ast.unparse(node.func)}({', '.join([*map(_key, node.args), *named])})"
    raise ValueError("not a canonical text")


def _float_key(value: float) -> str:
    if math.isinf(value):
        return "inf"
    rounded = float(f"{value:.12g}")
    return repr(abs(rounded) if rounded == 0 else rounded)
