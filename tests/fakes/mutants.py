"""Make mutants of a reference with one fault each: an operator, constant, comparison, condition, bound or call."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator

_SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_NAMES = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "sum": "len",
    "sorted": "list",
    "abs": "int",
    "upper": "lower",
    "lower": "upper",
    "endswith": "startswith",
    "isalpha": "isdigit",
    "isdigit": "isalpha",
    "str": "repr",
}


def mutants_of(source: str) -> list[str]:
    """Return programs that differ from the reference and from one another, each with exactly one fault.

    Those with a changed return statement come last.
    """
    tree = ast.parse(source)
    found: dict[str, bool] = {}
    for position, original in enumerate(ast.walk(tree)):
        for variant in range(len(list(_changes(original)))):
            mutated = copy.deepcopy(tree)
            _mutate(list(ast.walk(mutated))[position], variant)
            found[ast.unparse(ast.fix_missing_locations(mutated))] = isinstance(original, ast.Return)
    found.pop(ast.unparse(tree), None)
    return sorted(found, key=lambda text: found[text])


def _mutate(node: ast.AST, variant: int) -> None:
    field, value = list(_changes(node))[variant]
    setattr(node, field, value)


def _changes(node: ast.AST) -> Iterator[tuple[str, object]]:
    if isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign) and type(node.op) in _SWAPS:
        yield "op", _SWAPS[type(node.op)]()
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _SWAPS:
        yield "ops", [_SWAPS[type(node.ops[0])](), *node.ops[1:]]
    if isinstance(node, ast.Constant) and type(node.value) is int:
        yield "value", node.value + 1
        yield "value", node.value - 1
    if isinstance(node, ast.Constant) and type(node.value) is str:
        yield "value", node.value + "x"
    if isinstance(node, ast.Name) and node.id in _NAMES:
        yield "id", _NAMES[node.id]
    if isinstance(node, ast.Attribute) and node.attr in _NAMES:
        yield "attr", _NAMES[node.attr]
    if isinstance(node, ast.Return) and node.value is not None:
        yield "value", None
        yield "value", ast.List([node.value], ast.Load())
        yield "value", ast.IfExp(node.value, node.value, ast.Constant(None))
        yield "value", ast.Call(ast.Name("str", ast.Load()), [node.value], [])
        yield "value", ast.UnaryOp(ast.Not(), node.value)
        yield "value", ast.BinOp(node.value, ast.Add(), node.value)
        yield "value", ast.Subscript(node.value, ast.Slice(ast.Constant(1)), ast.Load())
    if isinstance(node, ast.Return) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Attribute):
        yield "value", node.value.func.value
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        yield "test", ast.UnaryOp(ast.Not(), node.test)
    if isinstance(node, ast.comprehension) and node.ifs:
        yield "ifs", []
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print" and node.args:
        yield "args", node.args[:-1]
        yield "args", [*node.args, ast.Constant("!")]
        yield "args", [*node.args, *node.args]
        yield "args", [ast.Constant("0"), *node.args]
        yield "keywords", [ast.keyword("end", ast.Constant("."))]
        yield (
            "args",
            [
                ast.Call(ast.Name("repr", ast.Load()), [a.value if isinstance(a, ast.Starred) else a], [])
                for a in node.args
            ],
        )
