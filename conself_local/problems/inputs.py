"""Make test inputs for a function from the examples in its docstring and the types of its parameters.

The same seed gives the same inputs. Examples come first, then mostly edge values of each type, then random values.
Expected outputs in the examples are never used, and nothing is evaluated.
"""

from __future__ import annotations

import ast
import doctest
import random
from collections.abc import Sequence
from typing import Any

from conself_local.foreign_files import PARSER_ERRORS
from conself_local.problems.mutate import mutate_inputs

INPUTS = 12
"""Most test inputs that are made for a function."""
_TEXTS = (
    "",
    "a",
    "abc",
    "Hello World",
    "racecar",
    "a,b;c",
    "  x  ",
    "UPPER lower",
    "123",
    "äé",
    "line\nbreak",
    "aabbcc",
)
_INTEGERS = (0, 1, -1, 2, 3, 7, 10, 100, -17, 255, 1000)
_FLOATS = (0.0, 1.0, -1.0, 0.5, 2.5, 3.14159, 100.0, -7.25)
_MAX_ITEMS = 6
_ALIASES = {
    "List": "list",
    "Sequence": "list",
    "Iterable": "list",
    "Dict": "dict",
    "Mapping": "dict",
    "Set": "set",
    "Tuple": "tuple",
}


def example_calls(docstring: str, name: str) -> list[tuple[object, ...]]:
    """Return the arguments of each call `name(...)` in the docstring's `>>>` examples.

    Calls with keyword arguments, or with arguments that are not literals, are skipped.
    """
    try:
        examples = doctest.DocTestParser().get_examples(docstring)
    except ValueError:
        return []
    calls = []
    for example in examples:
        try:
            tree = ast.parse(example.source)
        except PARSER_ERRORS:
            continue  # an example in another language, or one that is cut short
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == name
                and not node.keywords
            ):
                try:
                    calls.append(tuple(ast.literal_eval(a) for a in node.args))
                except PARSER_ERRORS:
                    continue  # an argument that is computed
    return calls


def make_inputs(node: ast.FunctionDef, examples: Sequence[tuple[object, ...]], seed: int) -> list[tuple[object, ...]]:
    """Return at most `INPUTS` different tuples of arguments for a function.

    Parameters with a default get a value only in an example, unless all have one: then the first gets a value.
    Raises ValueError if neither examples nor types show what to pass in, or if a type has no literal.
    """
    parameters = [*node.args.posonlyargs, *node.args.args]
    required = parameters[: len(parameters) - len(node.args.defaults)] or parameters[:1]
    usable = [e for e in examples if len(required) <= len(e) <= len(parameters)]
    draw = random.Random(f"{seed}/{node.name}")
    found = {repr(e): e for e in usable}
    types = [p.annotation for p in required]
    if all(t is not None for t in types):
        for attempt in range(INPUTS * 3):
            arguments = tuple(_value(t, draw, attempt) for t in types)
            found.setdefault(repr(arguments), arguments)
    elif usable:
        for mutation in mutate_inputs(usable, INPUTS, f"{seed}/{node.name}"):
            if isinstance(mutation, tuple):
                found[repr(mutation)] = mutation
    else:
        raise ValueError("neither types nor examples show what to pass in")
    return list(found.values())[:INPUTS]


def _value(annotation: ast.expr | None, draw: random.Random, attempt: int) -> object:
    """Return a value of the annotated type, in early attempts mostly an edge value.

    Raises ValueError for a type that has no literal.
    """
    match annotation:
        case ast.Constant(value=None):
            return None
        case ast.Constant(value=str(text)):
            return _value(ast.parse(text, mode="eval").body, draw, attempt)
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            return _value(draw.choice([left, right]), draw, attempt)
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return _plain(name, draw, attempt)
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), slice=inner):
            return _generic(_ALIASES.get(name, name), inner, draw, attempt)
    raise ValueError("a parameter has a type that has no literal")


def _plain(name: str, draw: random.Random, attempt: int) -> object:
    pools: dict[str, Sequence[Any]] = {"int": _INTEGERS, "float": _FLOATS, "str": _TEXTS, "bool": (False, True)}
    if name in pools:
        pool = pools[name]
        return pool[attempt] if attempt < len(pool) and draw.random() < 0.7 else draw.choice(pool)
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
    raise ValueError(f"a parameter has the type {name}, which has no literal")


def _generic(name: str, inner: ast.expr, draw: random.Random, attempt: int) -> object:
    size = 0 if attempt == 0 else draw.randint(1, _MAX_ITEMS)

    def items(item_type: ast.expr) -> list[Any]:
        return [_value(item_type, draw, attempt + n) for n in range(size)]

    if name == "Optional":
        return None if attempt == 0 else _value(inner, draw, attempt)
    if name == "Union" and isinstance(inner, ast.Tuple):
        return _value(draw.choice(inner.elts), draw, attempt)
    if name == "list":
        return items(inner)
    if name == "set":
        return set(items(inner))
    if name == "tuple":
        if isinstance(inner, ast.Tuple) and not any(
            isinstance(e, ast.Constant) and e.value is Ellipsis for e in inner.elts
        ):
            return tuple(_value(e, draw, attempt) for e in inner.elts)
        return tuple(items(inner.elts[0] if isinstance(inner, ast.Tuple) else inner))
    if name == "dict" and isinstance(inner, ast.Tuple) and len(inner.elts) == 2:
        return dict(zip(items(inner.elts[0]), items(inner.elts[1]), strict=True))
    raise ValueError(f"a parameter has the type {name}, which has no literal")
