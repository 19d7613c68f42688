"""Tell whether two programs are the same but for names, comments and docstrings.

Not covered: programs that behave alike and are written differently, which is what `behaviour.py` is for. Nothing is
executed.
"""

from __future__ import annotations

import ast

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_PARSER_ERRORS = (SyntaxError, ValueError, RecursionError, MemoryError)


def syntax_tree_key(code: str) -> str:
    """Return a text that is equal for programs with the same syntax tree, up to the names that they define.

    Functions, classes, arguments and variables are numbered in the order in which the tree names them; built-in
    functions, modules and attributes keep their names. Comments and docstrings do not count.
    Example: `"def f(a):\\n    return a + 1  # next"` and `"def g(x):\\n    return x + 1"` have the same key.
    Code that does not parse is its own key.
    """
    try:
        tree = ast.parse(code)
        names = {name: f"n{i}" for i, name in enumerate(dict.fromkeys(_defined_names(tree)))}
        for node in ast.walk(tree):
            _normalise(node, names)
        return ast.dump(tree, annotate_fields=False)
    except _PARSER_ERRORS:
        return code


def _defined_names(tree: ast.Module) -> list[str]:
    """Return the names that the program itself gives, in the order of the tree; imported names are not among them."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, _DEFINITIONS):
            found.append(node.name)
        elif isinstance(node, ast.arg):
            found.append(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.append(node.id)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found.append(node.name)
    return found


def _normalise(node: ast.AST, names: dict[str, str]) -> None:
    """Replace the defined names in one node, and remove its docstring."""
    for field in ("id", "arg", "name"):
        value = getattr(node, field, None)
        if isinstance(value, str) and not isinstance(node, ast.alias):
            setattr(node, field, names.get(value, value))
    if isinstance(node, ast.Global | ast.Nonlocal):
        node.names = [names.get(name, name) for name in node.names]
    if isinstance(node, (ast.Module, *_DEFINITIONS)) and ast.get_docstring(node, clean=False) is not None:
        node.body = node.body[1:] or [ast.Pass()]
