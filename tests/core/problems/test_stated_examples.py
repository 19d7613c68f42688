"""Examples that a question states are read with their outputs, and contradictions are found; nothing is evaluated."""

from __future__ import annotations

import ast

import pytest

from conself_local.problems.stated_examples import MAX_EXAMPLES, stated_examples


def _read(question: str, signature: str = "f(n)") -> tuple[dict[tuple[object, ...], str | None], list[object]]:
    node = ast.parse(f"def {signature}: ...").body[0]
    assert isinstance(node, ast.FunctionDef)
    examples, contradicting = stated_examples(question, node.name, node.args)
    return {one.arguments: one.expected for one in examples}, list(contradicting)


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("Double a number.\n\n>>> f(2)\n4\n>>> f(3) == 6\nTrue\n", {(2,): "4", (3,): "6"}),
        ('def f(n):\n    """Double.\n    >>> f(2)\n    4\n    """\n', {(2,): "4"}),
        ("f(2) == 4, and f(3) should return 6.", {(2,): "4", (3,): "6"}),
        ("assert f(2) == 4", {(2,): "4"}),
        ("`f('ab')` -> `'abab'`", {("ab",): "'abab'"}),
        ("For example f(2) returns -4.5, not more", {(2,): "-4.5"}),
        ("f(2) gives f(1) + 2", {(2,): None, (1,): None}),
        ("f(n) == f(n - 1) + 2 and f(m) == 3", {}),
        ("f(2) ==> four", {(2,): None}),
        ("Call f(7) often.", {(7,): None}),
    ],
)
def test_calls_and_their_outputs_are_read(question: str, wanted: dict[tuple[object, ...], str | None]) -> None:
    found, contradicting = _read(question)
    assert found == wanted and contradicting == []


def test_an_output_of_a_list_ends_where_the_list_ends() -> None:
    question = "f([1, 2]) returns [2, 4] because each is doubled."
    node = ast.parse("def f(n): ...").body[0]
    assert isinstance(node, ast.FunctionDef)
    (example,), _ = stated_examples(question, "f", node.args)
    assert example.arguments == ([1, 2],) and example.expected == "[2, 4]"


def test_examples_that_contradict_each_other_lose_their_outputs_and_are_reported() -> None:
    found, contradicting = _read("f(2) == 4\nf(2) == 5\nf(3) == 6")
    assert found == {(2,): None, (3,): "6"} and contradicting == [(2,)]
    assert _read("f(2) == 4\nf(2) == 4.0")[1] == [], "equal values are no contradiction"


def test_keywords_and_defaults_are_passed_by_position() -> None:
    assert _read("f(1, k=3) == 4", "f(n, k=2)")[0] == {(1, 3): "4"}
    assert _read("f(1, 2, 3) == 4", "f(n, k=2)")[0] == {}


def test_huge_and_hostile_texts_are_left_out() -> None:
    giant = "9" * 100_000
    nested = "[" * 5_000
    text = f"f({giant}) == 1\nf(1) == {giant}\nf({nested}\nf(2) == {nested}\n>>> f(3)\n{giant}\n>>> f(\x1b[2J)\n4\n"
    found, _ = _read(text)
    assert (giant,) not in found and all(expected is None for expected in found.values())
    many = "\n".join(f"f({n}) == {n}" for n in range(3 * MAX_EXAMPLES))
    assert len(_read(many)[0]) == MAX_EXAMPLES


def test_nothing_is_evaluated() -> None:
    assert _read("f(__import__('os').getpid()) == 1\nf(1) == __import__('os').getpid()")[0] == {(1,): None}
