"""Read the arguments of calls in foreign code: literals only, by position, and nothing is evaluated."""

from __future__ import annotations

import ast
from collections.abc import Sequence

_NAMED = {"inf": float("inf"), "nan": float("nan"), "null": None, "true": True, "false": False}
"""What JSON, and tests with `from math import inf`, write for values that have no literal of Python."""


def literal_arguments(call: ast.Call, parameters: Sequence[str]) -> tuple[object, ...]:
    """Return the arguments of a call, those that are passed by keyword in the order of `parameters`.

    Raises ValueError if an argument is no literal, or cannot be passed by position.
    """
    given = [literal(argument) for argument in call.args]
    named = {keyword.arg: literal(keyword.value) for keyword in call.keywords}
    for name in list(parameters)[len(given) :]:
        if not named:
            break
        if name not in named:
            raise ValueError(f"a call passes arguments by keyword and leaves {name} out")
        given.append(named.pop(name))
    if named:
        raise ValueError(f"a call passes {', '.join(map(str, named))} by keyword, which no parameter has as its name")
    return tuple(given)


def literal(node: ast.expr) -> object:
    """Return the value of a literal, in which `inf`, `null`, `true` and `false` may be names. Raises ValueError."""
    try:
        return ast.literal_eval(_Named().visit(node))
    except TypeError as error:  # a set of lists, for example
        raise ValueError(f"an argument has no value ({error})") from error


def parameters_of_functions(tree: ast.Module) -> dict[str, list[str]]:
    """Return the name of every function -> the names of its parameters, without `self`."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            names = [parameter.arg for parameter in (*node.args.posonlyargs, *node.args.args)]
            found[node.name] = names[1:] if names[:1] == ["self"] else names
    return found


class _Named(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(_NAMED[node.id]) if node.id in _NAMED else node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        match node:
            case ast.Call(func=ast.Name(id="float"), args=[ast.Constant(value=str(text))]):
                return ast.Constant(float(text))
        return node
