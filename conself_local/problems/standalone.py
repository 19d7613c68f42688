"""Write a function of the user's code with all that it needs as one source text, or say what does not look pure.

A function is pure here if it uses no files, network, clocks, random numbers or globals and calls nothing that is not
known to be pure. Helpers, constants and classes of its own package come along. Only syntax trees are read.
Not covered: whether the source runs; the sandbox finds that out.
"""

from __future__ import annotations

import ast
import builtins
import copy
import itertools
import re
import symtable

from conself_local.problems.source_modules import Definition, Import, Meaning, SourceModule

PURE_MODULES = {
    "bisect",
    "cmath",
    "collections",
    "contextlib",
    "copy",
    "dataclasses",
    "decimal",
    "enum",
    "fractions",
    "functools",
    "heapq",
    "itertools",
    "math",
    "numbers",
    "operator",
    "re",
    "statistics",
    "string",
    "textwrap",
    "typing",
    "unicodedata",
    "__future__",
}
_IMPURE_BUILTINS = {
    "open",
    "input",
    "print",
    "exec",
    "eval",
    "compile",
    "__import__",
    "globals",
    "locals",
    "vars",
    "id",
    "breakpoint",
    "exit",
    "quit",
    "memoryview",
    "setattr",
    "delattr",
    "help",
}
_SECRET = re.compile(
    r"AKIA[0-9A-Z]{12}|sk-[A-Za-z0-9]{16}|ghp_\w{20}|-----BEGIN|(?i:passw(or)?d|api_?key|secret)\s*[=:]\s*['\"]"
)
_MAX_SOURCE_LINES = 400
_MAX_NODES = 20_000
"""Parts of the syntax tree of one definition: a table of numbers has one for each."""
_LATE = "from __future__ import annotations"


def standalone_source(function: ast.FunctionDef, module: SourceModule) -> str:
    """Return source text that defines the function and all that it needs.

    A function for which `gives_iterator` holds becomes one that returns a list. Raises ValueError that says what does
    not look pure, RecursionError for code that is nested too deeply.
    """
    collected = _Collected()
    meaning = module.meaning(function.name)
    if meaning is None or meaning.what is not function:
        raise ValueError(f"its module gives the name {function.name} to something else")
    collected.add(meaning)
    source = as_list(collected.source(), function.name) if gives_iterator(function) else collected.source()
    if _SECRET.search(source):
        raise ValueError("it contains something like a secret")
    if source.count("\n") > _MAX_SOURCE_LINES:
        raise ValueError(f"it needs more than {_MAX_SOURCE_LINES} lines")
    return source


_LISTED = """
def _conself_listed(give):
    from collections.abc import Iterator
    from itertools import islice

    def listed(*arguments, **keywords):
        value = give(*arguments, **keywords)
        if not isinstance(value, Iterator):
            return value
        values = list(islice(value, 10_001))
        if len(values) > 10_000:
            raise OverflowError("it gives values without end")
        return values

    return listed


NAME = _conself_listed(_conself_make())
"""
_ITERATOR_TYPES = {"Iterator", "Iterable", "Generator"}


def gives_iterator(function: ast.FunctionDef) -> bool:
    """Return whether a function yields, or states that it returns an iterator."""
    yields = any(isinstance(node, ast.Yield | ast.YieldFrom) for node in _own_nodes(function))
    return yields or _last_name(function.returns) in _ITERATOR_TYPES


def as_list(source: str, name: str) -> str:
    """Return the source with a function that returns a list wherever the one in `source` returns an iterator.

    Everything in `source` is put into a function, so that what calls itself there calls the original.
    """
    body = ast.parse(source).body
    late = [node for node in body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    inside = [node for node in body if node not in late]
    made = ast.parse("def _conself_make(): pass")
    function = made.body[0]
    assert isinstance(function, ast.FunctionDef), "it was just parsed"
    function.body = [*inside, ast.Return(ast.Name(name, ast.Load()))]
    made.body = [*late, function]
    return ast.unparse(ast.fix_missing_locations(made)) + "\n\n" + _LISTED.replace("NAME", name)


def _own_nodes(function: ast.FunctionDef) -> list[ast.AST]:
    """Return the nodes of a function's body, those of functions and classes in it excluded."""
    found: list[ast.AST] = []
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        found.append(node)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            waiting += ast.iter_child_nodes(node)
    return found


def _last_name(node: ast.expr | None) -> str:
    """Return `c` of `c`, `a.b.c` and `a.b.c[...]`; an empty text for anything else."""
    if isinstance(node, ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


class _Collected:
    """Definitions and imports in an order in which they run: module by module, as they stand in each."""

    def __init__(self) -> None:
        self._bound: dict[str, tuple[str, str]] = {}
        """Name in the source -> (module, name) that it means there."""
        self._imports: dict[str, None] = {}
        self._modules: dict[str, dict[tuple[int, int], str]] = {}
        """Name of a module -> position of a definition -> its text; a module that others need stands before them."""

    def source(self) -> str:
        definitions = [text for module in self._modules.values() for _, text in sorted(module.items())]
        return "\n\n".join([*self._imports, *definitions]) + "\n"

    def add(self, meaning: Meaning) -> None:
        """Add a definition of the package, and what it needs. Raises ValueError if it does not look pure."""
        definition, module = meaning.what, meaning.module
        assert not isinstance(definition, Import), "imports are added by _need"
        _verify_clear(meaning)
        if not self._bind(meaning.name, (module.name, meaning.name)):
            return
        if sum(1 for _ in itertools.islice(ast.walk(definition), _MAX_NODES + 1)) > _MAX_NODES:
            raise ValueError(f"it needs {meaning.name}, which is too large")
        if module.has_late_annotations:
            self._imports = {_LATE: None, **self._imports}
        plain = _without_foreign_annotations(definition, module)
        _verify_statements(plain, module)
        for used in sorted(_free_names(plain) - {meaning.name}):
            self._need(used, module)
        self._modules.setdefault(module.name, {})[definition.lineno, definition.col_offset] = ast.unparse(plain)

    def _need(self, used: str, module: SourceModule) -> None:
        meaning = module.meaning(used)
        if meaning is None:
            if used in _IMPURE_BUILTINS or _is_dunder(used) or not hasattr(builtins, used) or module.may_hide(used):
                raise ValueError(f"it uses {used}")
            self._bind(used, ("builtins", used))
            return
        _verify_clear(meaning)
        if isinstance(meaning.what, Import):
            _verify_pure(meaning.what, module)
            if self._bind(used, (meaning.what.module, meaning.what.name or "")):
                self._imports[ast.unparse(meaning.what.statement)] = None
            return
        if isinstance(meaning.what, ast.FunctionDef) and not is_cached_only(meaning.what, meaning.module):
            raise ValueError(f"it calls {used}, which is decorated")
        self.add(meaning)
        if meaning.name != used and self._bind(used, (meaning.module.name, meaning.name)):
            end = meaning.what.end_lineno or meaning.what.lineno
            self._modules.setdefault(meaning.module.name, {})[end, len(self._bound)] = f"{used} = {meaning.name}"

    def _bind(self, name: str, means: tuple[str, str]) -> bool:
        """Note what a name means; return False if that is known. Raises ValueError if it means something else."""
        known = self._bound.setdefault(name, means) if name in self._bound else None
        if known is None:
            self._bound[name] = means
            return True
        if known != means:
            raise ValueError(f"it needs two definitions that are called {name}")
        return False


def _verify_clear(meaning: Meaning) -> None:
    if not meaning.is_clear:
        raise ValueError(f"it uses {meaning.name}, which its module binds or changes in several places")


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name not in ("__build_class__", "__debug__")


def is_pure_import(imported: Import) -> bool:
    """Return whether a name is imported from a module that is known to be pure."""
    return _first(imported.module) in PURE_MODULES and not getattr(imported.statement, "level", 0)


def _verify_pure(imported: Import, module: SourceModule) -> None:
    if not is_pure_import(imported):
        is_own = getattr(imported.statement, "level", 0) or _first(imported.module) == _first(module.name)
        shown = "its own package" if is_own else imported.module
        raise ValueError(f"it uses {shown}, which is not known to be pure")


def _first(dotted: str) -> str:
    return dotted.partition(".")[0]


def is_cached_only(function: ast.FunctionDef, module: SourceModule) -> bool:
    """Return whether a function has no decorators except the caches of `functools`, which change no answer."""
    for decorator in function.decorator_list:
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        root = target.value if isinstance(target, ast.Attribute) else target
        meaning = module.meaning(root.id) if isinstance(root, ast.Name) else None
        of_functools = meaning and isinstance(meaning.what, Import) and meaning.what.module == "functools"
        if not of_functools or _last_name(target) not in ("cache", "lru_cache"):
            return False
    return True


def _verify_statements(node: Definition, module: SourceModule) -> None:
    for part in ast.walk(node):
        if isinstance(part, ast.Global | ast.Await | ast.AsyncFor | ast.AsyncWith):
            raise ValueError(f"it has {type(part).__name__.lower()} in it")
        if isinstance(part, ast.Import | ast.ImportFrom):
            names = [part.module or ""] if isinstance(part, ast.ImportFrom) else [alias.name for alias in part.names]
            if getattr(part, "level", 0) or any(_first(name) not in PURE_MODULES for name in names):
                raise ValueError(f"it has {type(part).__name__.lower()} in it")


def _free_names(node: ast.stmt) -> set[str]:
    """Return the names that a statement reads but does not define."""
    free: set[str] = set()

    def visit(table: symtable.SymbolTable) -> None:
        free.update(s.get_name() for s in table.get_symbols() if s.is_global() and s.is_referenced())
        for child in table.get_children():
            visit(child)

    top = symtable.symtable(ast.unparse(node), "harvest", "exec")
    for symbol in top.get_symbols():
        if symbol.is_referenced() and not symbol.is_assigned():
            free.add(symbol.get_name())
    for child in top.get_children():
        visit(child)
    return free


def _without_foreign_annotations(node: Definition, module: SourceModule) -> Definition:
    """Return a copy without the annotations of parameters and results that need what cannot come along."""
    plain = copy.deepcopy(node)
    for part in ast.walk(plain):
        if isinstance(part, ast.arg):
            part.annotation = part.annotation if _can_come_along(part.annotation, module) else None
        elif isinstance(part, ast.FunctionDef):
            part.returns = part.returns if _can_come_along(part.returns, module) else None
    return plain


def _can_come_along(annotation: ast.expr | None, module: SourceModule) -> bool:
    for node in ast.walk(annotation) if annotation else ():
        if isinstance(node, ast.Name):
            meaning = module.meaning(node.id)
            known = hasattr(builtins, node.id) if meaning is None else None
            if known is None:
                known = isinstance(meaning.what, Import) and is_pure_import(meaning.what)  # type: ignore[union-attr]
            if not known:
                return False
    return True
