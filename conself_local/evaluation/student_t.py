"""Compute quantiles of Student's t distribution, for intervals from few seeds.

Covered: the two-sided quantile, also for degrees of freedom that are no whole number (Satterthwaite). It is written
here because SciPy is no dependency; a test compares it with a printed table, and with SciPy if that is installed.
Source: Press et al., Numerical Recipes, section 6.4 (the continued fraction of the incomplete beta function).
"""

from __future__ import annotations

import math

_TINY = 1e-300
_PRECISION = 1e-15
_MAX_TERMS = 10_000


def t_quantile(degrees: float, *, confidence: float = 0.95) -> float:
    """Return the t for which |T| <= t has the probability `confidence`.

    (2) -> 4.3027; (10) -> 2.2281; a very large number of degrees -> 1.9600. Raises ValueError unless the degrees of
    freedom are positive and `confidence` is between 0 and 1.
    """
    if not degrees > 0 or not 0 < confidence < 1:
        raise ValueError(f"degrees > 0 and 0 < confidence < 1 are needed, not {degrees} and {confidence}")
    low, high = 0.0, 1.0
    while _two_sided_tail(high, degrees) > 1 - confidence:
        low, high = high, 2 * high
    while high - low > _PRECISION * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if _two_sided_tail(middle, degrees) > 1 - confidence else (low, middle)
    return high


def _two_sided_tail(t: float, degrees: float) -> float:
    """Return the probability of |T| > t."""
    return _incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t))


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b), for x in [0, 1]."""
    if x in (0.0, 1.0):
        return x
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    if x < (a + 1) / (a + b + 2):
        return math.exp(log_front) * _continued_fraction(a, b, x) / a
    return 1 - math.exp(log_front) * _continued_fraction(b, a, 1 - x) / b


def _continued_fraction(a: float, b: float, x: float) -> float:
    """Return the continued fraction of the incomplete beta function, by the modified method of Lentz."""
    numerator, denominator = 1.0, 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    product = denominator
    for m in range(1, _MAX_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            denominator = 1 / _away_from_zero(1 + term * denominator)
            numerator = _away_from_zero(1 + term / numerator)
            product *= numerator * denominator
        if abs(numerator * denominator - 1) < _PRECISION:
            break
    return product


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
