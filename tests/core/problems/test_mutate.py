"""Mutated inputs keep what the given inputs have in common, can be written and read, and are the same for a seed."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conself_local.problems.literals import input_text, parse_input
from conself_local.problems.mutate import mutate_inputs
from conself_local.problems.stdin_format import StdinFormat
from conself_local.sampling.extract import parse_calls

_PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.tuples(inner, inner), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=150)
@given(st.lists(st.tuples(_PLAIN, _PLAIN), min_size=1, max_size=4))
def test_mutated_inputs_of_any_calls_are_new_and_can_be_written_and_read(calls: list[tuple[Any, ...]]) -> None:
    found = mutate_inputs(calls, 8, "seed")
    known = {input_text(call) for call in calls}
    texts = [input_text(one) for one in found]
    assert len(set(texts)) == len(texts) and not known & set(texts)
    for text in texts:
        assert len(parse_input(text)) == 2


@settings(max_examples=150)
@given(st.lists(st.text(max_size=60), min_size=1, max_size=3))
def test_mutated_inputs_of_any_texts_are_texts(texts: list[str]) -> None:
    assert all(isinstance(one, str) for one in mutate_inputs(texts, 8, "seed"))


def test_the_same_seed_gives_the_same_mutated_inputs() -> None:
    calls = [([3, 1, 2], "abc"), ([5, 5], "xy")]
    assert mutate_inputs(calls, 16, "a") == mutate_inputs(calls, 16, "a") != mutate_inputs(calls, 16, "b")


@pytest.mark.parametrize(
    ("calls", "holds"),
    [
        ([([4, 9], 2), ([7], 1), ([1, 2, 3], 3)], lambda items, n: n == len(items)),
        ([([1, 3, 5], 9), ([2, 8, 11], 4)], lambda items, n: items == sorted(items) and n >= 1),
        ([([4, 9, 1], 2), ([7, 5, 3], 0)], lambda items, n: 0 <= n <= len(items)),
        ([(12, 3), (5, 5)], lambda a, b: 1 <= a <= 24 and 1 <= b <= 10),
        ([("0110", 1), ("10", 0)], lambda text, n: set(text) <= {"0", "1"} and text),
        ([((1, 2), (3, 4)), ((5, 6), (7, 8))], lambda a, b: len(a) == len(b) == 2),
        ([([[1, 2], [3, 4]], 1), ([[5, 6]], 1)], lambda rows, n: rows and all(len(row) == 2 for row in rows)),
    ],
)
def test_mutated_inputs_keep_what_the_given_inputs_have_in_common(calls: list[tuple[Any, ...]], holds: Any) -> None:
    found: list[Any] = mutate_inputs(calls, 24, "seed")
    assert len(found) >= 8 and all(holds(*one) for one in found), [one for one in found if not holds(*one)]


@pytest.mark.parametrize(
    ("texts", "is_right"),
    [
        (["3\n1 2 3\n", "2\n5 9\n"], lambda lines: int(lines[0][0]) == len(lines[1]) and len(lines) == 2),
        (["3\nab\nc\nd\n", "1\nx\n"], lambda lines: int(lines[0][0]) == len(lines) - 1),
        (
            ["2\n3\n1 2 3\n1\n7\n", "1\n2\n4 4\n"],
            lambda lines: (
                2 * int(lines[0][0]) == len(lines) - 1
                and all(int(lines[i][0]) == len(lines[i + 1]) for i in range(1, len(lines), 2))
            ),
        ),
        (
            ["4 7\n", "1 2\n"],
            lambda lines: len(lines) == 1 and len(lines[0]) == 2 and all(1 <= int(t) <= 14 for t in lines[0]),
        ),
    ],
)
def test_counts_on_standard_input_stay_right(texts: list[str], is_right: Any) -> None:
    found = mutate_inputs(texts, 24, "seed")
    assert len(found) >= 8
    assert all(isinstance(one, str) and is_right([line.split() for line in one.splitlines()]) for one in found)


def test_free_text_has_no_format() -> None:
    assert (
        StdinFormat.infer(["hello world\n", "good bye\n"]) is None and mutate_inputs(["hello world\n"], 4, "seed") == []
    )
    assert StdinFormat.infer([""]) is None


def test_calls_in_an_answer_are_read_as_literals_only() -> None:
    text = "Here:\n1. `add(1, [2, (3,)])`  # edge\nadd(-1, 'a)b')\nassert add(2, 2) == 4\nadd(open('x'), 1)\nadd(x=1)\nadd(1,\n__import__('os')"
    assert parse_calls(text, "Solution.add") == [(1, [2, (3,)]), (-1, "a)b"), (2, 2)]
    assert parse_calls("add(" * 2000, "add") == [] and parse_calls("add(" + "(" * 500 + ")" * 501, "add") == []


def test_a_row_of_words_keeps_its_letters() -> None:
    form = StdinFormat.infer(["2\nab ba\n", "1\nb\n"])
    assert form is not None
    draw = random.Random(0)
    assert all(set("".join(form.mutation("2\nab ba\n", draw).split()[1:])) <= {"a", "b"} for _ in range(50))
