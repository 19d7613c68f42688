"""Read the calls of a function in its docstring: they are its best test inputs.

The calls in `>>>` examples come first, then calls in the text, as in `f(2, k=3) == 9`. Arguments are literals, names
that the examples assign literals to, and `range`, `iter`, `list`, `tuple`, `set` and `dict` of those. Nothing is
evaluated, and no expected output is used.
"""

from __future__ import annotations

import ast
import itertools
import re
import warnings
from collections.abc import Iterator

from conself_local.foreign_files import PARSER_ERRORS
from conself_local.problems.literals import input_text

_MAX_CALLS = 50
_MAX_RANGE = 100
_MAX_NAMED_CHARACTERS = 2_000
"""Longest literal that a name in the examples may stand for."""
_MAX_CALL_CHARACTERS = 400
_MAX_CALLS_PER_LINE = 20
_MAX_EXAMPLE_CHARACTERS = 2_000
"""Longest source of an example that is read."""
WITHOUT_BLANK = re.compile(r"^(\s*>>>)(?=\S)", re.MULTILINE)
PROMPT = re.compile(r"^(?P<indent>\s*)(?P<prompt>>>>|\.\.\.|In \[\d+\]:)[ \t]?(?P<source>.*)$")
"""A line of an interactive example: `>>> f(2)`."""
_CONTAINERS = {"list": list, "tuple": tuple, "set": set, "iter": list}


def example_calls(docstring: str, function: ast.FunctionDef) -> list[tuple[object, ...]]:
    """Return the arguments of each call of `function` in its docstring, by position, at most `_MAX_CALLS`.

    A call is skipped if an argument is computed, or cannot be passed by position.
    """
    found: dict[str, tuple[object, ...]] = {}
    for call, names in _calls(docstring, function.name):
        if len(found) == _MAX_CALLS:
            break
        try:
            arguments = by_position(call, function.args, names)
            found.setdefault(input_text(arguments), arguments)
        except PARSER_ERRORS:
            continue  # an argument that is computed, or too large
    return list(found.values())


def _calls(docstring: str, name: str) -> Iterator[tuple[ast.Call, dict[str, object]]]:
    """Yield each call with the values of the names that the examples before it have assigned."""
    import doctest  # it loads the debugger, and every command that reads problems would wait for that

    names: dict[str, object] = {}
    try:
        examples = doctest.DocTestParser().get_examples(WITHOUT_BLANK.sub(r"\1 ", docstring))
    except ValueError:
        examples = []
    for example in examples:
        tree = parsed(example.source) if len(example.source) <= _MAX_EXAMPLE_CHARACTERS else None
        for node in ast.walk(tree) if tree else ():
            if isinstance(node, ast.Call) and _is_called(node.func, name, names):
                yield node, names
        for statement in tree.body if tree else ():
            _assign(statement, names)
    for line in docstring.splitlines():
        if not PROMPT.match(line):
            for call, _ in calls_in_text(line, name):
                yield call, {}


def _is_called(target: ast.expr, name: str, names: dict[str, object]) -> bool:
    if isinstance(target, ast.Attribute):  # a call through a module, not a method of a value
        return target.attr == name and isinstance(target.value, ast.Name) and target.value.id not in names
    return isinstance(target, ast.Name) and target.id == name


def _assign(statement: ast.stmt, names: dict[str, object]) -> None:
    """Note the value of `name = literal`; forget a name that is assigned anything else."""
    for target in statement.targets if isinstance(statement, ast.Assign) else []:
        for node in ast.walk(target):
            if isinstance(node, ast.Name):
                names.pop(node.id, None)
        if isinstance(target, ast.Name) and isinstance(statement, ast.Assign):
            try:
                value = _value(statement.value, names)
                if len(input_text((value,))) <= _MAX_NAMED_CHARACTERS:
                    names[target.id] = value
            except PARSER_ERRORS:
                continue  # a value that is computed


def _value(node: ast.expr, names: dict[str, object]) -> object:
    """Return the value of an argument. Raises ValueError if it is computed."""
    match node:
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.List(elts=items):
            return [_value(item, names) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_value(item, names) for item in items)
        case ast.Set(elts=items):
            return {_value(item, names) for item in items}
        case ast.Dict(keys=keys, values=values) if all(keys):
            return {_value(k, names): _value(v, names) for k, v in zip(keys, values, strict=True) if k}
        case ast.Call(func=ast.Name(id="range"), args=bounds, keywords=[]):
            numbers = range(*(_whole(_value(bound, names)) for bound in bounds))
            if len(numbers) > _MAX_RANGE:
                raise ValueError(f"a range of more than {_MAX_RANGE} numbers")
            return list(numbers)
        case ast.Call(func=ast.Name(id=name), args=[inner], keywords=[]) if name in _CONTAINERS:
            return _CONTAINERS[name](_value(inner, names))
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=items) if all(item.arg for item in items):
            return {item.arg: _value(item.value, names) for item in items}
    return ast.literal_eval(node)


def _whole(value: object) -> int:
    if type(value) is not int:
        raise ValueError("not a whole number")
    return value


def by_position(call: ast.Call, parameters: ast.arguments, names: dict[str, object]) -> tuple[object, ...]:
    """Return the arguments of a call as a tuple; a default fills the place before a keyword argument.

    Raises ValueError if an argument is computed, or if the call does not fit the parameters.
    """
    positional = [one.arg for one in (*parameters.posonlyargs, *parameters.args)]
    values = [_value(one, names) for one in call.args]
    if len(values) > len(positional) and not parameters.vararg:
        raise ValueError("more arguments than parameters")
    given = {str(one.arg): _value(one.value, names) for one in call.keywords}
    first_default = len(positional) - len(parameters.defaults)
    while given:
        if len(values) >= len(positional):
            raise ValueError("an argument that only a keyword can pass")
        name = positional[len(values)]
        if name in given:
            values.append(given.pop(name))
        else:
            default = len(values) - first_default
            if default < 0:
                raise ValueError("an argument is missing")
            values.append(ast.literal_eval(parameters.defaults[default]))
    if len(values) < first_default:
        raise ValueError("an argument is missing")
    return tuple(values)


def calls_in_text(line: str, name: str) -> list[tuple[ast.Call, int]]:
    """Return the calls `name(...)` in a line of text, each with the position behind it."""
    found = []
    pattern = rf"(?<![\w.])(?:\w+(?:\(\))?\.)?{re.escape(name)}\("
    for match in itertools.islice(re.finditer(pattern, line), _MAX_CALLS_PER_LINE):
        text = line[match.start() : match.start() + _MAX_CALL_CHARACTERS]
        depth = 0
        for end, letter in enumerate(text, start=1):
            depth += (letter in "([{") - (letter in ")]}")
            is_whole = letter == ")" and depth == 0 and end > match.end() - match.start()
            tree = parsed(text[:end]) if is_whole else None
            if tree and isinstance(node := tree.body[0], ast.Expr) and isinstance(node.value, ast.Call):
                found.append((node.value, match.start() + end))
                break
    return found


def parsed(source: str) -> ast.Module | None:
    """Return the syntax tree of one piece of code; None if it is another language, or cut short."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return ast.parse(source.strip())
    except PARSER_ERRORS:
        return None
