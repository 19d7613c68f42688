"""Take expected outputs out of statements: training must not see them. The calls and inputs of examples stay.

Found are outputs below `>>>` examples, behind calls as in `f(2) == 4`, and under the labels of competition problems
(`sample_outputs.py`). A line that defines the function by a call with variables and a sign stays as it is.
Not covered: outputs in words, as in "returns 3 for 2".
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from conself_local.problems.examples import PROMPT, calls_in_text, parsed
from conself_local.problems.sample_outputs import without_samples

WITH_OUTPUTS = ", with the expected outputs of its examples"
"""Ends the origin of a problem whose statement keeps them."""
RESULT = re.compile(
    r"[\s`;*\"')]*+(?:(?P<comment>\#|//)|==+|=+>?|[-~]+>|→|➞|⇒"
    r"|(?:(?:should|will|would|must) (?:return|be|give|equal)|returns|gives|yields|evaluates to)\b)"
)
_CONSTANTS = {"true", "false", "null", "undefined", "inf", "nan", "float", "set", "frozenset", "dict", "list", "tuple"}
"""Names that stand for a value in an example: constants of other languages, and constructors."""
_FIELD = re.compile(r"\s*(?:[:@]\w|\w+:\s*$)")
"""A line of a docstring below an example that is no output: `:param n:`, `@return`, `Returns:`."""


def without_outputs(statement: str, name: str = "") -> str:
    """Return a statement with its examples' calls and inputs, and without their expected outputs.

    name: the function that the problem asks for, if it asks for one. `>>> f(2)` stays and the lines below it go; of
    `f(2) == 4` and of `f(2)  # 4`, `f(2)` stays.
    """
    return "\n".join(without_samples(_without_results(statement.splitlines(), name)))


def _without_results(lines: list[str], name: str) -> Iterator[str]:
    """Yield the lines without what follows a `>>>` example or a call."""
    at = 0
    while at < len(lines):
        prompt = PROMPT.match(lines[at])
        if prompt is None or prompt["prompt"] == "...":
            yield _without_result(lines[at], name)
            at += 1
            continue
        end = at + 1
        while end < len(lines) and (more := PROMPT.match(lines[end])) and more["prompt"] == "...":
            end += 1
        yield from _example(lines[at:end], name)
        while end < len(lines) and lines[end].strip() and not PROMPT.match(lines[end]) and not _FIELD.match(lines[end]):
            end += 1  # the output
        at = end


def _example(lines: list[str], name: str) -> Iterator[str]:
    """Yield the lines of one example as they are or, if they compare or comment, only what they call."""
    prompts = [prompt for line in lines if (prompt := PROMPT.match(line))]
    source = "\n".join(prompt["source"] or "" for prompt in prompts)
    head = f"{prompts[0]['indent']}{prompts[0]['prompt']}"
    tree = parsed(source)
    if tree is None:
        for prompt in prompts:
            bare = (prompt["source"] or "").partition("#")[0].partition("==")[0].rstrip()
            yield f"{prompt['indent']}{prompt['prompt']} {bare}".rstrip()
    elif any(_tells(node) for node in ast.walk(tree)):
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _name_of(node.func) == name]
        yield from (f"{head} {ast.unparse(call)}" for call in calls)
    elif "#" in source:
        shown = ast.unparse(tree).splitlines()
        yield from [f"{head} {line}" if n == 0 else f"{prompts[0]['indent']}... {line}" for n, line in enumerate(shown)]
    else:
        yield from (line.rstrip() for line in lines)


def _tells(node: ast.AST) -> bool:
    """Return whether a part of an example states what a call gives."""
    if isinstance(node, ast.Call):
        return _name_of(node.func).lower().startswith(("assert", "isclose", "allclose", "approx"))
    return isinstance(node, ast.Assert | ast.Compare)


def _name_of(target: ast.expr) -> str:
    return target.id if isinstance(target, ast.Name) else target.attr if isinstance(target, ast.Attribute) else ""


def _without_result(line: str, name: str) -> str:
    """Return a line of text without the values that follow calls with literals and a sign such as `==` or `->`.

    `f(n) == f(n - 1) + 1` defines the function, so a line with such a call and sign stays, as does `f("a") == f("A")`.
    """
    calls = calls_in_text(line, name) if name else []
    if not calls or any(_has_variables(call) and RESULT.match(line[end:]) for call, end in calls):
        return line
    kept, at = "", 0
    for _, end in calls:
        sign = RESULT.match(line[end:])
        if end < at or sign is None:
            continue
        begin = end + sign.end()
        stop = len(line) if sign["comment"] else begin + value_length(line[begin:])
        if f"{name}(" in line[begin:stop]:
            return line
        kept += line[at:end]
        at = stop
    return kept + line[at:]


def _has_variables(call: ast.Call) -> bool:
    values = [*call.args, *(keyword.value for keyword in call.keywords)]
    names = {node.id.lower() for value in values for node in ast.walk(value) if isinstance(node, ast.Name)}
    return not names <= _CONSTANTS


def value_length(text: str) -> int:
    """Return the length of the value that a text begins with: up to a comma or semicolon outside of brackets."""
    depth, quote = 0, ""
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        elif letter in ",;" and depth <= 0:
            return place
    return len(text)
