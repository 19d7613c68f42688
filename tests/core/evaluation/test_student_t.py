"""The quantiles of Student's t are those of the printed tables, and those of SciPy."""

from __future__ import annotations

import pytest
from scipy import stats

from conself_local.evaluation.student_t import t_quantile

TABLE = {
    0.95: {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262, 10: 2.228, 30: 2.042, 120: 1.980},
    0.99: {1: 63.657, 2: 9.925, 10: 3.169, 120: 2.617},
}
"""Confidence -> degrees of freedom -> quantile, as in the tables of any textbook, to three decimals."""


@pytest.mark.parametrize(("confidence", "degrees"), [(c, d) for c, row in TABLE.items() for d in row])
def test_the_quantiles_are_those_of_the_tables(confidence: float, degrees: int) -> None:
    assert t_quantile(degrees, confidence=confidence) == pytest.approx(TABLE[confidence][degrees], abs=5e-4)


def test_degrees_may_be_broken_and_the_limit_is_the_normal_distribution() -> None:
    assert t_quantile(2) > t_quantile(2.5) > t_quantile(3)
    assert t_quantile(1e7) == pytest.approx(1.959964, abs=1e-5)
    with pytest.raises(ValueError, match="degrees > 0"):
        t_quantile(0)


@pytest.mark.parametrize("degrees", [1, 1.773, 2, 2.5, 7, 40, 659, 12345.6])
def test_scipy_agrees(degrees: float) -> None:
    for confidence in (0.5, 0.9, 0.95, 0.999):
        expected = float(stats.t.ppf((1 + confidence) / 2, degrees))
        assert t_quantile(degrees, confidence=confidence) == pytest.approx(expected, rel=1e-9)
