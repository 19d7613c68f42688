"""Make test inputs for a function from the examples in its docstring and the types of its parameters.

The order is: the examples, mutations of them, values of the annotated types; small values stand before large ones. The
same seed gives the same inputs. Nothing is evaluated.
Not covered: whether the function answers an input, and how fast (`harvest.py`).
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Sequence
from typing import Any

from conself_local.foreign_files import PARSER_ERRORS
from conself_local.problems.literals import input_text
from conself_local.problems.mutate import mutate_inputs

INPUTS = 12
"""Most test inputs of a harvested problem."""
CANDIDATES = 2 * INPUTS
"""Most inputs that are made for a function, because it does not answer every one."""
_TEXTS = (
    "",
    "a",
    "abc",
    "123",
    "racecar",
    "Hello World",
    "a,b;c",
    "  x  ",
    "äé",
    "aabbcc",
    "UPPER lower",
    "line\nbreak",
)
_INTEGERS = (0, 1, 2, 3, -1, 5, 4, 7, 10, -3, 12, 6, 20, 9, 100, -17)
_FLOATS = (0.0, 1.0, -1.0, 0.5, 2.5, 3.14159, 10.0, -7.25, 100.0)
_TYPE_VARIABLE = re.compile(r"_?[A-Z]{1,2}(_co|_contra)?")
"""Names that stand for any type by custom, such as `T` and `KT`."""
_MAX_ITEMS = 6
_MAX_DEPTH = 4
"""Types in types that are filled; each level multiplies the values."""
_ALIASES = {
    "List": "list",
    "Sequence": "list",
    "Iterable": "list",
    "Iterator": "list",
    "Collection": "list",
    "MutableSequence": "list",
    "Dict": "dict",
    "Mapping": "dict",
    "Set": "set",
    "Tuple": "tuple",
}


def make_inputs(
    function: ast.FunctionDef, examples: Sequence[tuple[object, ...]], seed: int
) -> list[tuple[object, ...]]:
    """Return at most `CANDIDATES` different tuples of arguments for a function, the most telling ones first.

    Types give values to parameters without a default only, or to the first one if all have a default.
    Raises ValueError if neither examples nor types show what to pass in, or if a type has no literal.
    """
    found = {input_text(one): one for one in examples}
    mutations = mutate_inputs(examples, CANDIDATES, f"{seed}/{function.name}") if examples else []
    for mutation in _small_first(mutations[: max(INPUTS, CANDIDATES - len(found)) // 2]):
        found.setdefault(input_text(mutation), mutation)
    try:
        typed = _typed_inputs(function, random.Random(f"{seed}/{function.name}"))
    except PARSER_ERRORS:
        if not found:
            raise
        typed = []
    for one in _small_first([*typed, *mutations] if examples else typed):
        found.setdefault(input_text(one), one)
    return list(found.values())[:CANDIDATES]


def _small_first(inputs: Sequence[object]) -> list[tuple[object, ...]]:
    return sorted((one for one in inputs if isinstance(one, tuple)), key=lambda one: len(input_text(one)))


def _typed_inputs(function: ast.FunctionDef, draw: random.Random) -> list[tuple[object, ...]]:
    """Return inputs of the annotated types, from small values to large ones."""
    parameters = [*function.args.posonlyargs, *function.args.args]
    required = parameters[: len(parameters) - len(function.args.defaults)] or parameters[:1]
    types = [one.annotation for one in required]
    if not types or any(one is None for one in types):
        raise ValueError("neither types nor examples show what to pass in")
    return [tuple(_value(one, draw, attempt) for one in types) for attempt in range(CANDIDATES)]


def _value(annotation: ast.expr | None, draw: random.Random, attempt: int, depth: int = 0) -> object:
    """Return a value of the annotated type, in early attempts mostly an edge value.

    Raises ValueError for a type that has no literal.
    """
    if depth > _MAX_DEPTH:
        raise ValueError("a parameter has a type that is nested too deeply")
    match annotation:
        case ast.Constant(value=None):
            return None
        case ast.Constant(value=str(text)):
            return _value(ast.parse(text, mode="eval").body, draw, attempt, depth + 1)
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            return _one_of([left, right], draw, attempt, depth)
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return _plain(name, draw, attempt, depth)
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), slice=inner):
            return _generic(_ALIASES.get(name, name), inner, draw, attempt, depth)
    raise ValueError("a parameter has a type that has no literal")


def _one_of(types: Sequence[ast.expr], draw: random.Random, attempt: int, depth: int = 0) -> object:
    """Return a value of one of the types that have literals. Raises ValueError if none has."""
    for one in draw.sample(types, len(types)):
        try:
            return _value(one, draw, attempt, depth + 1)
        except ValueError:
            continue
    raise ValueError("a parameter has a type that has no literal")


def _plain(name: str, draw: random.Random, attempt: int, depth: int = 0) -> object:
    pools: dict[str, Sequence[Any]] = {"int": _INTEGERS, "float": _FLOATS, "str": _TEXTS, "bool": (False, True)}
    if name in pools:
        return draw.choice(pools[name][: attempt + 2])  # the first values are the small ones
    if _ALIASES.get(name, name) in ("list", "tuple", "set", "dict"):
        item = ast.Name(draw.choice(["int", "str"]))
        return _generic(
            _ALIASES.get(name, name),
            ast.Tuple([item, item]) if name in ("dict", "Dict", "Mapping") else item,
            draw,
            attempt,
        )
    if name == "None":
        return None
    if name in ("Any", "object", "Hashable") or _TYPE_VARIABLE.fullmatch(name):
        return _plain("int", draw, attempt, depth)
    raise ValueError(f"a parameter has the type {name}, which has no literal")


def _generic(name: str, inner: ast.expr, draw: random.Random, attempt: int, depth: int = 0) -> object:
    size = 0 if attempt == 0 else draw.randint(1, _MAX_ITEMS)

    def items(item_type: ast.expr) -> list[Any]:
        return [_value(item_type, draw, attempt + n, depth + 1) for n in range(size)]

    if name == "Optional":
        return None if attempt == 0 else _value(inner, draw, attempt, depth + 1)
    if name == "Union" and isinstance(inner, ast.Tuple):
        return _one_of(inner.elts, draw, attempt, depth)
    if name == "list":
        return items(inner)
    if name == "set":
        return set(items(inner))
    if name == "tuple":
        if isinstance(inner, ast.Tuple) and not any(
            isinstance(e, ast.Constant) and e.value is Ellipsis for e in inner.elts
        ):
            return tuple(_value(e, draw, attempt, depth + 1) for e in inner.elts)
        return tuple(items(inner.elts[0] if isinstance(inner, ast.Tuple) else inner))
    if name == "dict" and isinstance(inner, ast.Tuple) and len(inner.elts) == 2:
        return dict(zip(items(inner.elts[0]), items(inner.elts[1]), strict=True))
    raise ValueError(f"a parameter has the type {name}, which has no literal")
