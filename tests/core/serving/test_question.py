"""What a question asks for is found in it and in the first answer, and its inputs are literals in the stated order."""

from __future__ import annotations

import pytest

from conself_local.problems.literals import input_text
from conself_local.problems.stated_examples import MAX_INPUT_CHARACTERS
from conself_local.serving.question import MAX_INPUTS, AskedFunction, asked_function, examples_of, question_inputs

PROGRAM = "def helper(x):\n    return x\n\ndef double(n: int) -> int:\n    return helper(n) * 2\n"


def _function(question: str, program: str = PROGRAM) -> AskedFunction:
    found = asked_function(question, program)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("Write a function that doubles.", "double"),
        ("Write helper(x).", "helper"),
        ("Write double and helper.", "double"),
    ],
)
def test_the_function_is_the_one_that_the_question_names_or_nobody_else_calls(question: str, name: str) -> None:
    assert _function(question).name == name


@pytest.mark.parametrize(
    "program", ["", "print(1)\n", "class A:\n    def f(self): ...\n", "def f(:\n", "x = " + "(" * 3000]
)
def test_an_answer_without_a_function_asks_for_none(program: str) -> None:
    assert asked_function("Write f.", program) is None


def test_the_signature_of_the_question_counts_more_than_that_of_the_answer() -> None:
    question = "Complete this:\ndef pick(\n    values: list[int],\n    k: int = 1,\n) -> int:\n    '''Pick.'''\n"
    function = _function(question, "def pick(values, k, more):\n    return 0\n")
    assert function.takes(([1], 2)) and function.takes(([1],)) and not function.takes(([1], 2, 3))
    values = question_inputs(function, [], [], [], "0").values
    assert values and all(
        isinstance(value[0], list) and all(type(item) is int for item in value[0]) for value in values
    )


def test_a_function_that_needs_names_or_takes_nothing_cannot_be_compared() -> None:
    assert not _function("f", "def f(*, k): ...\n").is_callable
    assert not _function("f", "def f(): ...\n").is_callable
    assert _function("f", "def f(*a, k=1): ...\n").is_callable


def test_inputs_are_examples_then_asked_calls_then_mutations_then_types() -> None:
    question = "Write double(n). double(2) == 4, double(10) == 20."
    function = _function(question)
    examples, contradicting = examples_of(question, function)
    inputs = question_inputs(function, examples, contradicting, [(7,), ("x",), (1, 2), (-5,)], "seed")
    assert inputs.values[:4] == ((2,), (10,), (7,), (-5,)), "calls of other types or of another number are left out"
    assert inputs.expected == {0: "4", 1: "20"} and len(inputs.values) == MAX_INPUTS
    assert len({input_text(value) for value in inputs.values}) == MAX_INPUTS
    again = question_inputs(function, examples, contradicting, [(7,), ("x",), (1, 2), (-5,)], "seed")
    assert again == inputs


def test_without_examples_calls_and_types_there_are_no_inputs() -> None:
    function = _function("Write a function.", "def f(n):\n    return n\n")
    assert question_inputs(function, [], [], [], "0").values == ()


def test_giant_and_odd_values_of_the_model_are_no_inputs() -> None:
    function = _function("Write a function.", "def f(n):\n    return n\n")
    asked: list[tuple[object, ...]] = [
        ("x" * (MAX_INPUT_CHARACTERS + 1),),
        (float("nan"),),
        (1j,),
        (b"\x00",),
        ("\x1b[2J",),
    ]
    values = question_inputs(function, [], [], asked, "0").values
    assert (b"\x00",) in values and ("\x1b[2J",) in values
    assert all(len(input_text(value)) <= MAX_INPUT_CHARACTERS for value in values)
    assert not any(isinstance(value[0], complex) or value[0] != value[0] for value in values)
