"""The ranking measure A gives worked numbers, and sharpening does not move it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conself_local.evaluation.ranking import ScoredProgram, ranking_accuracy, ranking_result, select_bank

SCORES = st.lists(st.integers(-300, -1).map(float), min_size=1, max_size=6)


def test_worked_numbers() -> None:
    assert ranking_accuracy([-1, -4], [-2, -4]) == pytest.approx(0.625)
    assert ranking_accuracy([-1], [-2, -3]) == 1.0 and ranking_accuracy([-3], [-3]) == 0.5
    with pytest.raises(ValueError, match="a right and a wrong"):
        ranking_accuracy([], [-1])


@given(SCORES, SCORES, st.sampled_from([0.5, 2.0, 8.0]), st.integers(0, 50))
def test_sharpening_does_not_move_it(right: list[float], wrong: list[float], power: float, shift: int) -> None:
    """A sharpened model has log-probabilities times a power, less a constant of the problem."""
    sharper = ([power * value - shift for value in side] for side in (right, wrong))
    assert ranking_accuracy(*sharper) == ranking_accuracy(right, wrong)


def test_problems_count_once_and_those_of_one_side_not_at_all() -> None:
    bank = {
        "p": [ScoredProgram(True, -3, -1), ScoredProgram(False, -2, -2), ScoredProgram(False, -4, -4)],
        "q": [ScoredProgram(True, -1, -1), ScoredProgram(False, -2, -1)],
        "all right": [ScoredProgram(True, -1, -9)],
    }
    found = ranking_result(bank, seed=0)
    assert found["by_problem"] == {"p": [0.5, 1.0], "q": [1.0, 0.5]}
    assert (found["problems"], found["programs"], found["base"], found["adapter"]) == (2, 5, 0.75, 0.75)
    assert found["difference"] == 0.0 and found["interval_95"] == [-0.5, 0.5]
    assert set(ranking_result({"p": bank["all right"]}, seed=0)) == {"reason"}


def test_the_bank_has_both_sides() -> None:
    assert select_bank(["a", "b", "c"], ["x"], 3) == ["a", "b", "x"]
    assert select_bank(["a", "b", "c"], ["x", "y", "z"], 4) == ["a", "b", "x", "y"]
    assert select_bank(["a"], ["x", "y", "z"], 8) == ["a", "x", "y", "z"]
    assert select_bank(["a"], ["x"], 2) == ["a", "x"] and select_bank(["a"], ["x"], 0) == []
    assert select_bank([], ["x"], 8) == select_bank(["a"], [], 8) == []
