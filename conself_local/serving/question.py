"""Find what a question asks for: the function, and the inputs on which its programs are compared.

The inputs are, in this order: examples of the question, calls that the model was asked for, mutations of those, values
of the parameters' types. All are literals; nothing is evaluated.
Not covered: questions that ask for a method or for a whole script, and running programs (`best_of.py`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass

from conself_local.foreign_files import PARSER_ERRORS
from conself_local.problems.inputs import make_inputs
from conself_local.problems.literals import input_text, parse_code
from conself_local.problems.mutate import mutate_inputs
from conself_local.problems.stated_examples import MAX_INPUT_CHARACTERS, StatedExample, stated_examples

MAX_INPUTS = 20
"""Most inputs on which programs are compared."""
_MAX_ASKED, _MAX_WITH_MUTATIONS = 12, 16
"""Most inputs that the model proposes with the examples, and most with mutations; the rest is left to the types."""
_MAX_SIGNATURE = 1_000


@dataclass(frozen=True)
class AskedFunction:
    """The function that a question asks for."""

    name: str
    parameters: ast.arguments
    node: ast.FunctionDef
    """Its definition with the best annotations: that of the question, else that of the first answer."""

    @property
    def is_callable(self) -> bool:
        """Whether positional arguments are enough to call it, and it takes some."""
        wanted = self.parameters
        needs_names = any(default is None for default in wanted.kw_defaults)
        return not needs_names and bool(wanted.posonlyargs or wanted.args or wanted.vararg)

    def takes(self, call: Sequence[object]) -> bool:
        """Return whether the function can be called with these positional arguments."""
        most = len(self.parameters.posonlyargs) + len(self.parameters.args)
        least = most - len(self.parameters.defaults)
        return least <= len(call) and (len(call) <= most or self.parameters.vararg is not None)


@dataclass(frozen=True)
class QuestionInputs:
    """The inputs of a question, and the outputs that the user wants on some of them."""

    values: tuple[tuple[object, ...], ...]
    expected: dict[int, str]
    """Place of an input -> the literal that the user wants."""
    contradicting: tuple[tuple[object, ...], ...]
    """Arguments for which the question states two outputs, of which none is used."""


def asked_function(question: str, program: str) -> AskedFunction | None:
    """Return the function of a first answer's program that the question asks for; None if it has none.

    It is one that the question names, else the last one that no other function of the program calls.
    """
    try:
        tree = parse_code(program)
    except ValueError:
        return None
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    if not functions:
        return None
    named = [name for name in functions if re.search(rf"\b{re.escape(name)}\b", question)]
    called = {
        node.func.id
        for function in functions.values()
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id != function.name
    }
    name = (named or [name for name in functions if name not in called] or list(functions))[-1]
    node = _stated_signature(question, name) or functions[name]
    return AskedFunction(name, node.args, node)


def _stated_signature(question: str, name: str) -> ast.FunctionDef | None:
    """Return the definition of a function that a question begins, with an empty body."""
    begin = re.search(rf"\bdef {re.escape(name)}\(", question)
    if begin is None:
        return None
    text = question[begin.start() : begin.start() + _MAX_SIGNATURE]
    for end in (match.end() for match in re.finditer(r":[ \t]*(?=\n|$)", text)):
        try:
            (node,) = parse_code(f"{text[:end]}\n    ...").body
        except ValueError:
            continue
        return node if isinstance(node, ast.FunctionDef) else None
    return None


def examples_of(question: str, function: AskedFunction) -> tuple[list[StatedExample], list[tuple[object, ...]]]:
    """Return the examples of a question that the function can be called with, and those that contradict each other."""
    return stated_examples(question, function.name, function.parameters)


def question_inputs(
    function: AskedFunction,
    examples: Sequence[StatedExample],
    contradicting: Sequence[tuple[object, ...]],
    asked: Sequence[tuple[object, ...]],
    seed: str,
) -> QuestionInputs:
    """Return at most `MAX_INPUTS` inputs; `asked` holds the calls that the model wrote.

    A proposed call whose arguments are of other types than those of every example is left out.
    """
    found: dict[str, tuple[object, ...]] = {input_text(one.arguments): one.arguments for one in examples}
    given = list(found.values())
    for call in asked:
        fits = function.takes(call) and (not given or any(_same_types(call, one) for one in given))
        _add(found, call, _MAX_ASKED if fits else 0)
    sources = list(found.values())
    for mutation in mutate_inputs(sources, _MAX_WITH_MUTATIONS, seed) if sources else ():
        if isinstance(mutation, tuple):
            _add(found, mutation, _MAX_WITH_MUTATIONS)
    for value in _typed(function):
        _add(found, value, MAX_INPUTS)
    values = tuple(found.values())[:MAX_INPUTS]
    expected = {i: one.expected for i, one in enumerate(examples) if one.expected is not None}
    return QuestionInputs(values, expected, tuple(contradicting))


def _add(found: dict[str, tuple[object, ...]], call: tuple[object, ...], most: int) -> None:
    """Add a call if there are fewer than `most`, it is new, and its literal is not too long."""
    if len(found) >= most:
        return
    try:
        text = input_text(call)
    except PARSER_ERRORS:
        return  # a value that no program can be given
    if len(text) <= MAX_INPUT_CHARACTERS:
        found.setdefault(text, call)


def _same_types(call: Sequence[object], other: Sequence[object]) -> bool:
    return len(call) == len(other) and all(type(a) is type(b) for a, b in zip(call, other, strict=True))


def _typed(function: AskedFunction) -> list[tuple[object, ...]]:
    """Return values of the annotated types; none if a parameter has no type, or one without literals."""
    try:
        return make_inputs(function.node, [], 0)
    except PARSER_ERRORS:
        return []
