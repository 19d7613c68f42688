"""Intervals over seeds and problems, the weights of benchmarks, and pooled greedy answers give worked numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from conself_local.evaluation.over_seeds import Differences, bootstrap, crossed_t, interval_over_seeds, pool_flips
from conself_local.evaluation.student_t import t_quantile


def _array(*rows: list[float]) -> Differences:
    return np.array(rows, dtype=np.float64)


def test_the_worked_number_of_crossed_effects() -> None:
    # mean squares 2.25 (problems), 2.25 (seeds) and 0.25 (rest), so the variance of the mean is 4.25 / 4
    found = crossed_t([_array([0, 1], [1, 3])])
    degrees = 1.0625**2 / (0.5625**2 + 0.5625**2 + 0.0625**2)
    half = t_quantile(degrees) * math.sqrt(1.0625)
    assert degrees == pytest.approx(1.773, abs=1e-3)
    assert (found.difference, found.method) == (1.25, "t")
    assert (found.low, found.high) == pytest.approx((-3.776, 6.276), abs=1e-3)
    assert (found.low, found.high) == pytest.approx((1.25 - half, 1.25 + half))


def test_without_problem_effects_it_is_the_t_interval_of_the_seed_means() -> None:
    # three seed means -8, 1, 4 (points): mean -1, standard error sqrt(39 / 3), t of 2 degrees 4.3027
    found = crossed_t([_array([-0.08] * 40, [0.01] * 40, [0.04] * 40)])
    half = 4.302653 * math.sqrt(39 / 3) / 100
    assert (found.low, found.high) == pytest.approx((-0.01 - half, -0.01 + half), abs=1e-6)


def test_without_seed_effects_it_is_the_t_interval_of_the_problems() -> None:
    # 20 problems, half of them 1 and half 0: variance 0.25 * 20 / 19 / 20, 19 degrees of freedom
    found = crossed_t([_array(*[[1.0, 0.0] * 10] * 3)])
    half = 2.093024 * math.sqrt(0.25 / 19)
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-6)


def test_few_seeds_get_a_wider_interval_than_the_bootstrap_gives() -> None:
    """With three seeds, the bootstrap made an interval of -4.5 to +1.5 where t gives -8.0 to +5.7."""
    draw = np.random.default_rng(0)
    rows = np.array([[-0.06], [0.0], [0.03]]) + draw.normal(0, 0.05, (3, 200))
    wide, narrow = crossed_t([rows]), bootstrap([rows])
    assert wide.difference == pytest.approx(narrow.difference)
    assert wide.low < narrow.low - 0.03 and wide.high > narrow.high + 0.03


def test_the_number_of_seeds_decides_the_method() -> None:
    rows = np.random.default_rng(1).normal(0, 1, (10, 30))
    assert interval_over_seeds([rows[:1]]).method == "bootstrap"
    assert [interval_over_seeds([rows[:n]]).method for n in (2, 9, 10)] == ["t", "t", "bootstrap"]
    with pytest.raises(ValueError, match="at least two seeds"):
        crossed_t([rows[:1]])


def test_the_weights_of_benchmarks_count_and_not_their_sizes() -> None:
    many, few = _array([0.0] * 30, [0.0] * 30), _array([1.0, 0.0], [1.0, 0.0])
    assert crossed_t([many, few]).difference == pytest.approx(1 / 32 * 1)
    assert crossed_t([many, few], [0.4, 0.2]).difference == pytest.approx(0.5 / 3)
    assert bootstrap([many, few], [0.4, 0.2]).difference == pytest.approx(0.5 / 3)
    # only the second benchmark varies: (1/3)^2 * variance 0.5 / 2 problems, one degree of freedom
    half = 12.7062 / 3 * 0.5
    assert crossed_t([many, few], [2, 1]).high == pytest.approx(0.5 / 3 + half, abs=1e-4)
    with pytest.raises(ValueError, match="a weight above 0"):
        crossed_t([many, few], [1, 0])
    with pytest.raises(ValueError, match="the same seeds"):
        crossed_t([many, few[:1]])


def test_equal_differences_have_an_interval_of_no_width() -> None:
    found = crossed_t([_array([0.0, 0.0], [0.0, 0.0])])
    assert (found.difference, found.low, found.high) == (0.0, 0.0, 0.0)


def test_simulated_intervals_hold_the_true_mean_about_as_often_as_they_say() -> None:
    draw, held = np.random.default_rng(5), 0
    for _ in range(400):
        effects = draw.normal(0, 0.15, (1, 100)) + draw.normal(0, 0.03, (3, 1)) + draw.normal(0, 0.3, (3, 100))
        found = crossed_t([effects])
        held += found.low <= 0 <= found.high
    assert 0.92 <= held / 400 <= 1.0


def test_greedy_answers_are_pooled_over_benchmarks_and_seeds() -> None:
    gained = [str(i) for i in range(54)]
    found = pool_flips([("a", gained[:30], ["x"] * 0), ("b", gained[30:], [f"y{i}" for i in range(27)])])
    assert (found.gained, found.lost) == (54, 27) and found.p == pytest.approx(0.0035, abs=1e-4)
    assert (found.problems_gained, found.problems_lost, found.p_by_problem) == (54, 27, found.p)
    seeds = pool_flips([("a", ["p", "q"], []), ("a", ["p"], ["q"]), ("b", ["p"], [])])
    assert (seeds.gained, seeds.lost) == (4, 1)
    assert (seeds.problems_gained, seeds.problems_lost) == (2, 0), "q was gained as often as it was lost"
