"""Estimate pass@k, bootstrap intervals of paired differences, and McNemar's exact p-value.

The functions are pure, and each names its source. Not covered: collecting the scores (`compare.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

_BLOCK = 500
"""Resamples that are drawn at once."""


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Return 1 - C(n - c, k) / C(n, k), the unbiased estimate of pass@k from n samples of which c are right.

    (5, 2, 1) -> 0.4; (5, 2, 2) -> 0.7. Raises ValueError unless 0 <= c <= n and 1 <= k <= n.
    Source: Chen et al. 2021, arXiv 2107.03374, equation 1.
    """
    if not (0 <= correct <= n and 1 <= k <= n):
        raise ValueError(f"0 <= correct <= n and 1 <= k <= n are needed, not n={n}, correct={correct}, k={k}")
    return 1.0 - math.comb(n - correct, k) / math.comb(n, k)


def paired_bootstrap(
    base: Sequence[float], other: Sequence[float], *, seed: int, resamples: int = 10_000
) -> tuple[float, float, float]:
    """Return (mean of other - base, 2.5 % percentile, 97.5 % percentile) over resampled problems.

    base, other: (P,), the scores of the same P problems, which are resampled in pairs.
    Equal sequences -> (0.0, 0.0, 0.0). Raises ValueError if the lengths differ or are 0.
    """
    if len(base) != len(other) or not base:
        raise ValueError("base and other must have the same length and must not be empty")
    differences = np.asarray(other, dtype=np.float64) - np.asarray(base, dtype=np.float64)
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    for some in _blocks(resamples):
        drawn = generator.integers(0, len(differences), (some.stop - some.start, len(differences)))
        means[some] = differences[drawn].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(differences.mean()), float(low), float(high)


def _blocks(resamples: int) -> Iterator[slice]:
    """Yield slices of the resamples: one array of all of them would take too much memory."""
    return (slice(i, min(i + _BLOCK, resamples)) for i in range(0, resamples, _BLOCK))


def bootstrap_over_seeds(
    base: Sequence[Sequence[float]], other: Sequence[Sequence[float]], *, seed: int, resamples: int = 10_000
) -> tuple[float, float, float]:
    """Return what `paired_bootstrap` returns, with both seeds and problems resampled.

    base, other: (S, P), the scores of the same P problems under S seeds. A problem that is drawn is drawn for all drawn
    seeds, since the seeds share the problems. Raises ValueError if the shapes differ or are empty.
    """
    if len(base) != len(other) or not base or {len(row) for row in (*base, *other)} != {len(base[0])} or not base[0]:
        raise ValueError("base and other must have the same shape and must not be empty")
    differences = np.asarray(other, dtype=np.float64) - np.asarray(base, dtype=np.float64)
    return stratified_bootstrap([differences], [1.0], seed=seed, resamples=resamples)


def stratified_bootstrap(
    strata: Sequence[NDArray[np.float64]], shares: Sequence[float], *, seed: int, resamples: int = 10_000
) -> tuple[float, float, float]:
    """Return (mean, 2.5 % percentile, 97.5 % percentile) with seeds resampled, and problems within each stratum.

    strata: each (S, P), differences of P problems under the same S seeds. shares: of each stratum's mean in the mean;
    they sum to 1.
    """
    generator = np.random.default_rng(seed)
    seeds, means = len(strata[0]), np.zeros(resamples)
    drawn = generator.integers(0, seeds, (resamples, seeds))
    of_seed = np.stack([(drawn == number).mean(axis=1) for number in range(seeds)], axis=1)
    for one, share in zip(strata, shares, strict=True):
        for some in _blocks(resamples):
            problems = generator.integers(0, one.shape[1], (some.stop - some.start, one.shape[1]))
            means[some] += share * np.take_along_axis(of_seed[some] @ one, problems, axis=1).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    mean = sum(share * float(one.mean()) for one, share in zip(strata, shares, strict=True))
    return mean, float(low), float(high)


def mcnemar_exact(gained: int, lost: int) -> float:
    """Return the two-sided exact p-value of the hypothesis that gains and losses are equally likely.

    (8, 1) -> 0.0390625; (0, 0) -> 1.0. Source: McNemar 1947, exact binomial form.
    """
    n = gained + lost
    if n == 0:
        return 1.0
    tail = sum(math.comb(n, i) for i in range(min(gained, lost) + 1)) / 2**n
    return min(1.0, 2 * tail)
