"""Read the examples that a question states: calls of a function with the output that the user wants.

Read are `>>>` examples, and calls followed by a sign and a value, as in `f(2) == 4` or `f(2) should return 4`.
Arguments and outputs are literals; nothing is evaluated. If two examples want different outputs for the same arguments,
neither output is used.
Not covered: inputs given by names, as in `Input: n = 2`, and outputs in words.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from conself_local.evaluation.judge import outputs_match
from conself_local.foreign_files import PARSER_ERRORS
from conself_local.problems.examples import PROMPT, WITHOUT_BLANK, by_position, calls_in_text, parsed
from conself_local.problems.literals import input_text
from conself_local.problems.statements import RESULT, value_length

MAX_EXAMPLES = 20
MAX_INPUT_CHARACTERS = 2_000
"""Longest literal of the arguments of one call that is used as a test input."""
_MAX_OUTPUT_CHARACTERS = 2_000
_MAX_CUTS = 40
_END_OF_VALUE = re.compile(r"[\s.,;:!`)]")
_END_OF_DOCSTRING = re.compile(r"\"{3}|'{3}")


@dataclass(frozen=True)
class StatedExample:
    """One call, and the output that the user wants as a literal; None if no output is stated, or none is certain."""

    arguments: tuple[object, ...]
    expected: str | None


def stated_examples(
    question: str, name: str, parameters: ast.arguments
) -> tuple[list[StatedExample], list[tuple[object, ...]]]:
    """Return the examples of a function in a question, and the arguments for which they contradict each other.

    There are at most `MAX_EXAMPLES`, each with different arguments; one that contradicts another has no output.
    """
    found: dict[str, StatedExample] = {}
    contradicting: dict[str, tuple[object, ...]] = {}
    for call, output in itertools.chain(_doctests(question, name), _in_text(question, name)):
        try:
            arguments = by_position(call, parameters, {})
            key = input_text(arguments)
        except PARSER_ERRORS:
            continue  # an argument that is computed, or too large
        if len(key) > MAX_INPUT_CHARACTERS or (key not in found and len(found) == MAX_EXAMPLES):
            continue
        known = found.setdefault(key, StatedExample(arguments, output))
        if known.expected is None:
            found[key] = replace(known, expected=output)
        elif output is not None and not outputs_match(output, known.expected):
            contradicting[key] = arguments
    examples = [replace(one, expected=None) if key in contradicting else one for key, one in found.items()]
    return examples, list(contradicting.values())


def _doctests(question: str, name: str) -> Iterator[tuple[ast.Call, str | None]]:
    """Yield the calls of `>>>` examples with their outputs."""
    import doctest  # it loads the debugger, and every command that reads problems would wait for that

    try:
        examples = doctest.DocTestParser().get_examples(WITHOUT_BLANK.sub(r"\1 ", question))
    except ValueError:
        return
    for example in examples:
        tree = parsed(example.source)
        node = tree.body[0].value if tree and len(tree.body) == 1 and isinstance(tree.body[0], ast.Expr) else None
        compared, wanted = _compared(node)
        if isinstance(compared, ast.Call) and isinstance(compared.func, ast.Name) and compared.func.id == name:
            yield compared, wanted or _literal(_END_OF_DOCSTRING.split(example.want)[0].strip())


def _compared(node: ast.expr | None) -> tuple[ast.expr | None, str | None]:
    """Return `f(2)` and `4` for `f(2) == 4`, else the node and None."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], ast.Eq):
        return node.left, _literal(ast.unparse(node.comparators[0]))
    return node, None


def _in_text(question: str, name: str) -> Iterator[tuple[ast.Call, str | None]]:
    """Yield the calls in lines that are no `>>>` examples, with the values behind them."""
    for line in question.splitlines():
        if PROMPT.match(line):
            continue
        for call, end in calls_in_text(line, name):
            sign = RESULT.match(line[end:])
            begin = end + sign.end() if sign else end
            yield call, _first_literal(line[begin : begin + value_length(line[begin:])]) if sign else None


def _first_literal(text: str) -> str | None:
    """Return the longest literal that a text begins with: `4` of ` 4, because`; None if there is none."""
    text = text.strip().strip("`").rstrip(".")
    ends = [len(text), *sorted((match.start() for match in _END_OF_VALUE.finditer(text)), reverse=True)]
    for end in ends[:1] + ends[1:][-_MAX_CUTS:]:
        if found := _literal(text[:end]):
            return found
    return None


def _literal(text: str) -> str | None:
    """Return a literal in Python's own spelling; None if the text is none, or too long."""
    if not text or len(text) > _MAX_OUTPUT_CHARACTERS:
        return None
    tree = parsed(text)
    node = tree.body[0] if tree and len(tree.body) == 1 else None
    if not isinstance(node, ast.Expr):
        return None
    try:
        ast.literal_eval(node.value)
    except PARSER_ERRORS:
        return None
    return ast.unparse(node.value)
