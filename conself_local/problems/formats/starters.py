"""Read the starter code of competition problems: the first lines of an answer, and whether its inputs are literals."""

from __future__ import annotations

import ast
import builtins
import re
import typing

from conself_local.problems.literals import parse_code, parses

_TYPING = "from typing import *\n\n\n"
"""Put before starter code, which in these sets uses `List` and `Optional` without importing them."""
_NODES = re.compile(r"\b(ListNode|TreeNode|NestedInteger|Node)\b")
"""Classes of LeetCode that starter code names in comments or in its docstring."""
_KNOWN = frozenset((*dir(builtins), *typing.__all__))
_MAX_HEAD_LINES = 40


def first_lines(starter: str, name: str) -> str:
    """Return the starter code up to the colon of the function's `def`, or an empty text if it has none."""
    lines = starter.rstrip().splitlines()
    for start, line in enumerate(lines):
        if re.match(rf"\s*def {re.escape(name)}\s*\(", line):
            for end in range(start, min(len(lines), start + _MAX_HEAD_LINES)):
                head = "\n".join(lines[: end + 1]).rstrip()
                if head.endswith(":") and parses(f"{head} pass"):
                    signature = " ".join(lines[start : end + 1])
                    return _TYPING + head if "->" in signature or ": " in signature else head
            return ""
    return ""


def verify_literal_inputs(starter: str, head: str, name: str) -> None:
    """Raise ValueError if a parameter or the result of the function is of a class that no literal makes.

    starter: the whole starter code, in whose comments LeetCode defines `ListNode` and `TreeNode`. head: `first_lines`.
    """
    found = _NODES.search(starter)
    unknown = [found.group()] if found else _unknown_types(head, name)
    if unknown:
        raise ValueError(f"its parameters or its result are {unknown[0]}, which no literal can make")


def _unknown_types(head: str, name: str) -> list[str]:
    if not head:
        return []
    functions = [n for n in ast.walk(parse_code(f"{head} pass")) if isinstance(n, ast.FunctionDef) and n.name == name]
    found = []
    for function in functions:
        parameters = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        for annotation in (*(p.annotation for p in parameters), function.returns):
            if annotation is not None:
                found += _unknown_names(annotation)
    return found


def _unknown_names(annotation: ast.expr) -> list[str]:
    found = []
    for node in ast.walk(annotation):
        if isinstance(node, ast.Name) and node.id not in _KNOWN:
            found.append(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            found += [node.value] if node.value not in _KNOWN else []
    return found
