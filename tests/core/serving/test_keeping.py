"""An answered question becomes a training problem without expected outputs, if it has a function and inputs."""

from __future__ import annotations

import ast
import asyncio

import pytest

from conself_local.sampling.sampler import ChatMessage
from conself_local.serving.best_of import BestOf
from conself_local.serving.keeping import answered_alone, first_line
from conself_local.serving.program_runner import ProgramRunner
from conself_local.serving.verdict import block
from conself_local.store.kept_questions import AnsweredQuestion, Votes
from sandbox import Sandbox
from tests.fakes.scripted_engine import ScriptedEngine

DOUBLE = "def double(n):\n    return n * 2\n"
SQUARE = "def double(n):\n    return n * n\n"


def _ask(question: str, programs: list[str]) -> AnsweredQuestion | None:
    runner = ProgramRunner(lambda limits: Sandbox(limits, workers=1))
    engine = ScriptedEngine(programs, "double(3)\ndouble(-4)")
    best = BestOf(engine, runner, [ChatMessage("user", question)], adapter=None, room=1000, most=8, seed=1)
    best.first_answer = block(DOUBLE)
    try:
        asyncio.run(best.decide())
        return best.answered()
    finally:
        runner.close()


def test_a_question_is_kept_with_inputs_and_votes_and_without_the_outputs_of_its_examples() -> None:
    found = _ask("Write double(n).\n\ndouble(3) == 6", [DOUBLE, DOUBLE, SQUARE, DOUBLE])
    assert found is not None and found.question.endswith("== 6")
    problem = found.problem
    assert problem.statement == "Write double(n).\n\ndouble(3)" and problem.entry_point == "double"
    assert problem.starter_code == "def double(n):" and (3,) in problem.inputs and len(problem.inputs) > 2
    assert (problem.split, problem.reference) == ("train", None)
    assert found.votes.groups[0] == found.votes.agree and sum(found.votes.groups) <= found.votes.sampled
    assert found.votes.verdict == "confirmed"


def test_groups_are_those_of_the_vote() -> None:
    found = _ask("Write double(n).", [DOUBLE, DOUBLE, SQUARE, DOUBLE])
    assert found is not None and found.votes == Votes("confirmed", 6, 8, (6, 2))


def test_a_question_without_code_is_not_kept() -> None:
    assert _ask("Write double(n).", ["double = 3"]) is not None, "the first answer has code"
    assert answered_alone("What is the capital of France?", "Paris.") is None


@pytest.mark.parametrize(
    ("question", "kept"),
    [
        ("Write double(n), for example double(2) == 4.", True),
        ("Write double(n: int).\n\ndef double(n: int) -> int:\n", True),
        ("Write double(n).", False),
    ],
)
def test_a_single_answer_is_kept_only_if_the_question_gives_inputs(question: str, kept: bool) -> None:
    found = answered_alone(question, block(DOUBLE))
    assert (found is not None) == kept
    if found:
        assert found.votes == Votes() and "4" not in found.problem.statement


def test_a_question_longer_than_a_problem_is_not_kept() -> None:
    assert answered_alone(f"Write double.\n\ndouble(2) == 4\n{'x' * 30_000}", block(DOUBLE)) is None


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("def f(a: int, b=2) -> str: pass", "def f(a: int, b=2) -> str:"),
        ("def f(a: 'Tree', b: np.ndarray = np.zeros(3)): pass", "def f(a: 'Tree', b=...):"),
        ("def f(a: List[int]) -> Tree: pass", "from typing import *\n\n\ndef f(a: List[int]):"),
    ],
)
def test_the_prescribed_line_needs_no_names_of_the_answer(source: str, line: str) -> None:
    function = ast.parse(source).body[0]
    assert isinstance(function, ast.FunctionDef)
    assert first_line(function) == line
