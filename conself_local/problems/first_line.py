"""Write the first line that a problem prescribes, so that it runs in an answer, without the module that it is from.

A default that is a constant of the package is written out; another one that needs the package becomes `...`. An
annotation that needs more than the builtins and `typing` is left out.
"""

from __future__ import annotations

import ast
import builtins
import copy
import typing

from conself_local.problems.source_modules import Import, SourceModule
from conself_local.problems.standalone import gives_iterator

_BUILTINS, _TYPING = frozenset(dir(builtins)), frozenset(typing.__all__)
_MAX_DEFAULT, _MAX_DEFAULT_NODES = 200, 200
"""Longest default that is written out: characters, and parts of its syntax tree."""
_OF_TYPING = ("typing", "collections.abc")
"""Modules whose names `from typing import *` gives too."""


def first_line(function: ast.FunctionDef, module: SourceModule) -> str:
    """Return `def name(parameters) -> result:`.

    If the line uses a name of `typing`, an import of everything there is put before it. The result of a function that
    gives an iterator is `list`.
    """
    arguments = copy.deepcopy(function.args)
    arguments.defaults = [_without_names(default, module) for default in arguments.defaults]
    arguments.kw_defaults = [one and _without_names(one, module) for one in arguments.kw_defaults]
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    for argument in named:
        if argument:
            argument.annotation = _known_annotation(argument.annotation, module)
    returns = _result_as_list(function.returns) if gives_iterator(function) else function.returns
    bare = ast.FunctionDef(function.name, arguments, [ast.Pass()], [], _known_annotation(returns, module), lineno=0)
    text = ast.unparse(ast.fix_missing_locations(bare)).rsplit("\n", 1)[0]
    return text if _names(ast.parse(f"{text} pass")) <= _BUILTINS else f"from typing import *\n\n\n{text}"


def _without_names(default: ast.expr, module: SourceModule) -> ast.expr:
    if isinstance(default, ast.Name):
        meaning = module.meaning(default.id)
        if meaning and isinstance(meaning.what, ast.Assign | ast.AnnAssign):
            default = meaning.what.value or default
    is_short = sum(1 for _ in ast.walk(default)) <= _MAX_DEFAULT_NODES and len(ast.unparse(default)) <= _MAX_DEFAULT
    return default if is_short and _names(default) <= _BUILTINS else ast.Constant(...)


def _known_annotation(annotation: ast.expr | None, module: SourceModule) -> ast.expr | None:
    """Return an annotation in the names of builtins and `typing`; None if it needs another name."""
    if annotation is None:
        return None
    plain = _WithoutModule(module).visit(copy.deepcopy(annotation))
    known = _BUILTINS | _TYPING
    foreign = [name for name in _names(plain) if name not in known or _is_defined(name, module)]
    return None if foreign else plain


def _is_defined(name: str, module: SourceModule) -> bool:
    """Return whether the module gives a name a meaning of its own."""
    meaning = module.meaning(name)
    return meaning is not None and not (isinstance(meaning.what, Import) and meaning.what.module in _OF_TYPING)


class _WithoutModule(ast.NodeTransformer):
    """Write `t.List` as `List` if `t` is `typing` or `collections.abc`."""

    def __init__(self, module: SourceModule) -> None:
        self._module = module

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        if isinstance(node.value, ast.Name) and node.attr in _TYPING:
            meaning = self._module.meaning(node.value.id)
            imported = meaning.what if meaning else None
            if isinstance(imported, Import) and imported.name is None and imported.module in _OF_TYPING:
                return ast.Name(node.attr)
        return node


def _result_as_list(returns: ast.expr | None) -> ast.expr:
    """Return `list[T]` for `Iterator[T]`, and `list` if no type of the items is stated."""
    if isinstance(returns, ast.Subscript):
        item = returns.slice.elts[0] if isinstance(returns.slice, ast.Tuple) and returns.slice.elts else returns.slice
        return ast.Subscript(ast.Name("list"), item)
    return ast.Name("list")


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
