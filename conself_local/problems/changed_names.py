"""Find the names of a module that may not mean, in the end, what their first definition says.

Those are names that are bound more than once, or in a way other than a definition or an import, and values that the
module or one of its functions changes afterwards. Code that uses such a name is not written anew elsewhere.
Not covered: changes through other modules, and by classes that register their subclasses.
"""

from __future__ import annotations

import ast
from collections import Counter

_CHANGING = {"add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem", "popleft"}
_CHANGING |= {"remove", "reverse", "setdefault", "sort", "update"}
"""Methods that change the value that they are called on."""


def changed_names(tree: ast.Module) -> tuple[frozenset[str], bool]:
    """Return the names whose meaning is unclear, and whether the module imports all names of another one."""
    bindings = _Bindings()
    bindings.visit(tree)
    return frozenset(
        bindings.changed | {name for name, times in bindings.times.items() if times > 1}
    ), bindings.has_star


class _Bindings(ast.NodeVisitor):
    """Count what a module binds at its top level, and note what is changed."""

    def __init__(self) -> None:
        self.times: Counter[str] = Counter()
        self.changed: set[str] = set()
        self.has_star = False

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Count the function; its body runs later."""
        self.times[node.name] += 1 if isinstance(node, ast.FunctionDef) else 2
        for decorator in node.decorator_list:
            self.visit(decorator)
        self._note_changes(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Count the class; what its body binds belongs to it."""
        self.times[node.name] += 1
        for part in ast.walk(node):
            if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
                self._note_changes(part)

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        """Count the names that are imported."""
        for alias in node.names:
            self.has_star = self.has_star or alias.name == "*"
            self.times[alias.asname or alias.name.partition(".")[0]] += 1

    visit_ImportFrom = visit_Import

    def visit_Assign(self, node: ast.Assign | ast.AnnAssign) -> None:
        """Count plain names once; a part of a tuple is no definition that is read here."""
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            if isinstance(target, ast.Name):
                self.times[target.id] += 1
            else:
                self.visit(target)
        if node.value:
            self.visit(node.value)

    visit_AnnAssign = visit_Assign

    def visit_Name(self, node: ast.Name) -> None:
        """Note a name that is bound in another way: by a loop, in a tuple, with `:=`, or deleted."""
        if not isinstance(node.ctx, ast.Load):
            self.changed.add(node.id)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        """Leave out the target, which is local to the comprehension."""
        for part in (node.iter, *node.ifs):
            self.visit(part)

    def visit_MatchAs(self, node: ast.MatchAs | ast.MatchStar) -> None:
        """Note the name that a pattern binds."""
        self.changed.update([node.name] if node.name else [])
        self.generic_visit(node)

    visit_MatchStar = visit_MatchAs

    def visit_Subscript(self, node: ast.Subscript | ast.Attribute) -> None:
        """Note the value whose item or attribute is set."""
        if not isinstance(node.ctx, ast.Load):
            self.changed.add(_root(node))
        self.generic_visit(node)

    visit_Attribute = visit_Subscript

    def visit_Expr(self, node: ast.Expr) -> None:
        """Note what a call for its effect may change: the value that it is called on, and its arguments."""
        if isinstance(node.value, ast.Call):
            called = node.value.func
            self.changed.update([_root(called)] if isinstance(called, ast.Attribute) else [])
            self.changed.update(one.id for one in node.value.args if isinstance(one, ast.Name))
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        """Leave out what runs only if the module is the program."""
        if ast.unparse(node.test) != "__name__ == '__main__'":
            self.generic_visit(node)

    def visit_Try(self, node: ast.Try) -> None:
        """Count once what is imported and, if it is not there, defined."""
        imported = _Bindings()
        for one in node.body:
            if isinstance(one, ast.Import | ast.ImportFrom):
                imported.visit(one)
        instead = _Bindings()
        for handler in node.handlers:
            instead.visit(handler)
        self.generic_visit(node)
        for name in imported.times.keys() & instead.times.keys():
            self.times[name] -= instead.times[name]

    def _note_changes(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Note the names of the module that a function changes when it runs."""
        arguments = function.args
        local = {one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
        local |= {one.arg for one in (arguments.vararg, arguments.kwarg) if one}
        parts = list(ast.walk(function))
        local |= {part.id for part in parts if isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Load)}
        local |= {part.arg for part in parts if isinstance(part, ast.arg)}
        for part in parts:
            if isinstance(part, ast.Global):
                self.changed.update(part.names)
            elif isinstance(part, ast.Subscript | ast.Attribute) and not isinstance(part.ctx, ast.Load):
                self.changed.update({_root(part)} - local)
            elif isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute) and part.func.attr in _CHANGING:
                self.changed.update({_root(part.func)} - local)


def _root(node: ast.expr) -> str:
    """Return `a` of `a.b[0].c`; an empty text if the value has no name."""
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
