"""Calls in docstrings become inputs, with keywords and names resolved and nothing evaluated."""

from __future__ import annotations

import ast

import pytest

from conself_local.problems.examples import example_calls

SIGNATURE = "def f(n, k=2, *rest, flag=False): pass"
DOCSTRINGS = {
    ">>> f(3)\n9": [(3,)],
    ">>> f(n=4, k=2)\n16": [(4, 2)],
    ">>> f(k=5, n=4)\n1": [(4, 5)],
    ">>> f(4, k=[1, {'a': (2, 3)}])\n1": [(4, [1, {"a": (2, 3)}])],
    ">>> numbers = [1, 2]\n>>> f(numbers, len(numbers))\n>>> f(numbers)\n1": [([1, 2],)],
    ">>> list(f(range(3), -1))\n[]": [([0, 1, 2], -1)],
    ">>> f(iter((1, 2)), set([3]), dict(a=1))": [([1, 2], {3}, {"a": 1})],
    ">>> m.f(1)\n>>> text = 'a'\n>>> text.f(2)": [(1,)],
    ">>> f(3, flag=True)\n>>> f(k=3)\n>>> f(3, other=1)\n>>> f()": [],
    ">>> f(open('secret'))\n>>> f(x)\n>>> f(10 ** 9)": [],
    ">>> x = 1\n>>> x = unknown()\n>>> f(x)": [],
    ">>> f(range(10 ** 9))\n>>> f(range(1000000000))": [],
    "Call it as in f(7) == 49, or f(n=1, k=(2)) -> 1, but not off(8) or f(some).": [(7,), (1, 2)],
    ">>> f(1)\n>>> f(1)\n>>> f(2)": [(1,), (2,)],
    ">>> f(": [],
    ">>>f(5)\n>>> f(6)\n": [(5,), (6,)],
}


@pytest.mark.parametrize("docstring", DOCSTRINGS)
def test_arguments_are_found_by_position(docstring: str) -> None:
    (function,) = ast.parse(SIGNATURE).body
    assert isinstance(function, ast.FunctionDef)
    assert example_calls(docstring, function) == DOCSTRINGS[docstring]


def test_names_that_double_stay_small() -> None:
    """Prevent a huge value: each name stands for a list of twice the one before."""
    (function,) = ast.parse("def f(x): pass").body
    assert isinstance(function, ast.FunctionDef)
    lines = [">>> a0 = [0, 0]", *(f">>> a{i + 1} = [a{i}, a{i}]" for i in range(100)), ">>> f(a100)", ">>> f(a2)"]
    assert example_calls("\n".join(lines), function) == [([[[0, 0], [0, 0]], [[0, 0], [0, 0]]],)]
