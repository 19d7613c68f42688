"""Make a training problem of a question that was answered, so that the tool learns from being used.

The statement is the question without the expected outputs of its examples, as for problems from the user's own code;
the inputs are those on which programs were compared. For an answer that was not compared they are made from examples
and types alone. A question without a Python function, or without inputs, makes no problem.
Not covered: storing it (`store/kept_questions.py`).
"""

from __future__ import annotations

import ast
import builtins
import copy
import typing

from conself_local.foreign_files import PARSER_ERRORS
from conself_local.problems.problem import Problem
from conself_local.problems.statements import without_outputs
from conself_local.sampling.extract import extract_program
from conself_local.serving.evidence import Evidence
from conself_local.serving.question import (
    AskedFunction,
    QuestionInputs,
    asked_function,
    examples_of,
    question_inputs,
)
from conself_local.store.kept_questions import AnsweredQuestion, Votes

ORIGIN = "your question"
_BUILTINS, _TYPING = frozenset(dir(builtins)), frozenset(typing.__all__)


def answered_by_vote(question: str, evidence: Evidence) -> AnsweredQuestion | None:
    """Return what is kept of a question whose programs were compared; None if it makes no problem."""
    problem = question_problem(question, evidence.function, evidence.inputs)
    if problem is None:
        return None
    verdict = evidence.verdict()
    votes = Votes(verdict.kind, verdict.agree, verdict.sampled, evidence.group_sizes())
    return AnsweredQuestion(question, problem, votes)


def answered_alone(question: str, answer: str) -> AnsweredQuestion | None:
    """Return what is kept of a question with a single answer; None if it has no function or no inputs."""
    function = asked_function(question, extract_program(answer) or "")
    if function is None or not function.is_callable:
        return None
    inputs = question_inputs(function, *examples_of(question, function), [], "0")
    problem = question_problem(question, function, inputs)
    return AnsweredQuestion(question, problem, Votes()) if problem else None


def question_problem(question: str, function: AskedFunction, inputs: QuestionInputs) -> Problem | None:
    """Return the training problem of a question; None if it has no inputs, or is too long for a problem."""
    try:
        return Problem(
            id="mine",
            statement=without_outputs(question, function.name).strip(),
            kind="function",
            inputs=inputs.values,
            split="train",
            entry_point=function.name,
            starter_code=first_line(function.node),
            origin=ORIGIN,
        )
    except PARSER_ERRORS:
        return None  # no inputs, or a limit of problems


def first_line(function: ast.FunctionDef) -> str:
    """Return `def name(parameters) -> result:` in names of builtins and `typing` only, so that it runs in an answer.

    Annotations that need other names are left out, and such defaults become `...`. If the line uses a name of `typing`,
    an import of everything there is put before it.
    """
    arguments = copy.deepcopy(function.args)
    arguments.defaults = [_known_default(default) for default in arguments.defaults]
    arguments.kw_defaults = [one and _known_default(one) for one in arguments.kw_defaults]
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    for argument in named:
        if argument:
            argument.annotation = _known_annotation(argument.annotation)
    returns = _known_annotation(function.returns)
    bare = ast.FunctionDef(function.name, arguments, [ast.Pass()], [], returns, lineno=0)
    text = ast.unparse(ast.fix_missing_locations(bare)).rsplit("\n", 1)[0]
    needs_typing = not _names(ast.parse(f"{text} pass")) <= _BUILTINS
    return f"from typing import *\n\n\n{text}" if needs_typing else text


def _known_default(default: ast.expr) -> ast.expr:
    return default if _names(default) <= _BUILTINS else ast.Constant(...)


def _known_annotation(annotation: ast.expr | None) -> ast.expr | None:
    return annotation if annotation is not None and _names(annotation) <= _BUILTINS | _TYPING else None


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
