"""`choice_signs.py` chooses, ranks and fits as it says."""

from __future__ import annotations

import numpy as np

from conself_local.problems.problem import Problem
from conself_local.stages.score import ProblemEvidence
from tests.benchmarks.choice_signs import Choice, choice_of, first_right, predictions, table_lines

PROBLEM = Problem("p", "Add.", "function", ((1, 2),) * 3, "train", "f", "def f(a, b):", None)
CONSTANT, RIGHT, WRONG, CRASHED = ("0", "0", "0"), ("1", "2", "3"), ("1", "2", "4"), (None, None, None)


def _evidence(*behaviours: tuple[str | None, ...]) -> ProblemEvidence:
    return ProblemEvidence("p", [{"mean_nll": 0.5}] * len(behaviours), list(behaviours), len(behaviours))


def test_a_constant_is_chosen_only_if_nothing_else_ran() -> None:
    choice = choice_of(PROBLEM, _evidence(CONSTANT, CONSTANT, CONSTANT, RIGHT, RIGHT, WRONG, CRASHED, CRASHED), RIGHT)
    assert choice and choice.right and choice.gives_pair
    assert choice.signs["share of the samples"] == 2 / 8 and choice.signs["share of those that ran"] == 2 / 6
    assert choice.signs["lead over the next"] == -1 / 8 and choice.signs["samples that ran"] == 6 / 8
    assert choice.signs["few behaviours"] == -3 and choice.signs["mean log-probability"] == -0.5
    only = choice_of(PROBLEM, _evidence(CONSTANT, CRASHED), RIGHT)
    assert only and not only.right and not only.gives_pair
    assert choice_of(PROBLEM, _evidence(CRASHED), RIGHT) is None


def test_a_program_that_all_wrote_gives_no_pair_and_one_beside_crashed_ones_does() -> None:
    same, beside = (
        choice_of(PROBLEM, _evidence(RIGHT, RIGHT), RIGHT),
        choice_of(PROBLEM, _evidence(RIGHT, CRASHED), RIGHT),
    )
    assert same and beside and (same.gives_pair, beside.gives_pair) == (False, True)


def test_the_fit_finds_the_sign_that_tells_and_its_scores_come_from_other_problems() -> None:
    random = np.random.default_rng(0)
    signs = random.normal(size=(200, 3))
    right = (signs[:, 1] + 0.3 * random.normal(size=200) > 0).astype(float)
    assert first_right(predictions(signs, right, 0), right)[0] > 0.95
    labels_alone = random.permutation(right)
    assert abs(first_right(predictions(signs, labels_alone, 0), labels_alone)[2] - labels_alone.mean()) < 0.15


def test_the_table_has_a_row_per_sign_and_one_for_all() -> None:
    choices = [Choice(n < 100, True, {"good": -n, "bad": n}) for n in range(200)]
    lines = table_lines("all", choices)
    assert lines[0] == "all: 200 problems, the chosen is right in 100" and lines[3].startswith("| good | 1.000 |")
    assert lines[4].startswith("| bad | 0.000 |") and lines[5].startswith("| all together, fitted to references | 1.0")
