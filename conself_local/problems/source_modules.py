"""Read the user's Python files as syntax trees, and find what a name in one of them means.

A name may be defined in its module or imported from another module of the same package; imports are followed there.
Nothing is imported or run. Not covered: star imports, and names that are set in any other way.
"""

from __future__ import annotations

import ast
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from conself_local.foreign_files import PARSER_ERRORS, read_source
from conself_local.problems.changed_names import changed_names

_MAX_FILE_BYTES = 1_000_000
_MAX_HELPER_BYTES = 200_000
"""Largest file in which helpers are looked for: the trees of some of them are kept."""
_MAX_STEPS = 10
"""Imports that are followed from one module to the next."""
SHARED_FOLDERS = ("site-packages", "dist-packages")
"""Folders in which the modules side by side belong to different packages."""

Definition = ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign


@dataclass(frozen=True)
class Import:
    """A name that a module imports: `name` of `module`, or the module itself if `name` is None."""

    module: str
    """Absolute dotted name."""
    name: str | None
    statement: ast.stmt
    """The import of this name alone."""


@dataclass(frozen=True)
class Meaning:
    """What a name means: a definition in a module, or an import from outside the package."""

    module: SourceModule
    name: str
    what: Definition | Import
    is_clear: bool = True
    """Whether nothing else gives the name another meaning, or changes what it means."""


class SourceModule:
    """The definitions and imports at the top level of one file. Raises SyntaxError if it does not parse.

    name: the absolute dotted name, as in `package.module`. package: finds the other modules.
    """

    def __init__(self, text: str, name: str, *, is_package: bool, package: SourcePackage) -> None:
        with warnings.catch_warnings(action="ignore"):
            self.tree = ast.parse(text)
        self.name = name
        self._changed, self._has_star = changed_names(self.tree)
        self.has_late_annotations = any(
            isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in self.tree.body
        )
        self._parents = name.split(".") if is_package else name.split(".")[:-1]
        self._package = package
        self._bound: dict[str, Definition | Import] = {}
        for node in _top_level(self.tree.body):
            self._add(node)

    def _add(self, node: ast.stmt) -> None:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            self._bound.setdefault(node.name, node)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name) and node.value is not None:
                    self._bound.setdefault(target.id, node)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                module = alias.name if alias.asname else alias.name.partition(".")[0]
                self._bound.setdefault(alias.asname or module, Import(module, None, ast.Import([alias])))
        elif isinstance(node, ast.ImportFrom):
            above = self._parents[: len(self._parents) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                statement = ast.ImportFrom(node.module, [alias], node.level)
                self._bound.setdefault(alias.asname or alias.name, Import(module, alias.name, statement))

    def may_hide(self, name: str) -> bool:
        """Return whether a name without a meaning here may be bound in a way that is not read."""
        return self._has_star or name in self._changed

    def meaning(self, name: str) -> Meaning | None:
        """Return what `name` means here, or None if neither a definition nor an import says it."""
        module, clear = self, True
        for _ in range(_MAX_STEPS):
            clear = clear and name not in module._changed
            what = module._bound.get(name)
            if not isinstance(what, Import):
                return None if what is None else Meaning(module, name, what, clear)
            source = module._package.find(what.module, module)
            if source is None or what.name is None:
                # a module of the package may have the name of one of Python's
                return Meaning(module, name, what, clear and source is None)
            module, name = source, what.name
        return None


@dataclass(frozen=True)
class SourcePackage:
    """The modules of one package, or the files of one folder that are in none."""

    top: Path
    """The folder that the absolute names begin in."""
    own: str | None
    """The first part of the names of its modules; None if every file in the folder counts."""

    @classmethod
    def of(cls, file: Path) -> SourcePackage:
        """Return the package that a file belongs to."""
        real = real_path(file)
        top = real.parent
        while (top / "__init__.py").is_file() and top != top.parent:
            top = top.parent
        parts = real.relative_to(top).with_suffix("").parts
        return cls(top, parts[0] if len(parts) > 1 or top.name in SHARED_FOLDERS else None)

    def module(self, file: Path) -> SourceModule:
        """Return the module of a file of this package. Raises OSError, or what a parser raises, if it is unreadable."""
        parts = real_path(file).relative_to(self.top).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        return SourceModule(read_source(file, _MAX_FILE_BYTES), name, is_package=is_package, package=self)

    def find(self, dotted: str, user: SourceModule) -> SourceModule | None:
        """Return the module of this package with an absolute name; None for any other, or one that is unreadable."""
        if not dotted or dotted == user.name or (self.own and dotted.partition(".")[0] != self.own):
            return None
        return _module_at(self, self.top.joinpath(*dotted.split(".")))


def real_path(file: Path) -> Path:
    """Return the path without links; unlike `Path.resolve`, it raises nothing at a circle of links."""
    return Path(os.path.realpath(file))


@lru_cache(maxsize=32)
def _module_at(package: SourcePackage, path: Path) -> SourceModule | None:
    for file in (path.with_name(f"{path.name}.py"), path / "__init__.py"):
        if file.is_file():
            try:
                return package.module(file) if file.stat().st_size <= _MAX_HELPER_BYTES else None
            except (OSError, *PARSER_ERRORS):
                return None
    return None


def _top_level(statements: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a module, those in `if` and `try` included, in the order in which they are tried."""
    for node in statements:
        yield node
        if isinstance(node, ast.If):
            yield from _top_level([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            yield from _top_level([*node.body, *(inner for one in node.handlers for inner in one.body), *node.orelse])
