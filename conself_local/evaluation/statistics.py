"""Estimators, apart from everything that runs: pass@k, the paired bootstrap, McNemar's exact test."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def pass_at_k(n: int, correct: int, k: int) -> float:
    """1 - C(n - c, k) / C(n, k): the unbiased estimate from n samples of which c are right.

    (5, 2, 1) -> 0.4; (5, 2, 2) -> 0.7. Raises ValueError unless 0 <= c <= n and 1 <= k <= n.
    Source: Chen et al. 2021, arXiv 2107.03374, equation 1.
    """
    if not (0 <= correct <= n and 1 <= k <= n):
        raise ValueError(f"0 <= correct <= n and 1 <= k <= n are needed, not n={n}, correct={correct}, k={k}")
    return 1.0 - math.comb(n - correct, k) / math.comb(n, k)


def paired_bootstrap(
    base: Sequence[float], other: Sequence[float], *, seed: int, resamples: int = 10_000
) -> tuple[float, float, float]:
    """(mean difference other - base, 2.5 % and 97.5 % percentiles), problems resampled in pairs. base, other: (P,).

    Equal sequences -> (0.0, 0.0, 0.0). Raises ValueError for different lengths or none.
    """
    if len(base) != len(other) or not base:
        raise ValueError("base and other must be of one length, and not empty")
    differences = np.asarray(other, dtype=np.float64) - np.asarray(base, dtype=np.float64)
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    for i in range(resamples):
        means[i] = differences[generator.integers(0, len(differences), len(differences))].mean()
    low, high = np.percentile(means, [2.5, 97.5])
    return float(differences.mean()), float(low), float(high)


def bootstrap_over_seeds(
    base: Sequence[Sequence[float]], other: Sequence[Sequence[float]], *, seed: int, resamples: int = 10_000
) -> tuple[float, float, float]:
    """As `paired_bootstrap`, for the same problems under several seeds: seeds and problems are resampled. base, other: (S, P).

    A problem that is drawn is drawn for all drawn seeds, since the seeds share the problems.
    """
    if len(base) != len(other) or not base or {len(row) for row in (*base, *other)} != {len(base[0])} or not base[0]:
        raise ValueError("base and other must be of one shape, and not empty")
    differences = np.asarray(other, dtype=np.float64) - np.asarray(base, dtype=np.float64)
    seeds, problems = differences.shape
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    for i in range(resamples):
        rows = generator.integers(0, seeds, seeds)
        means[i] = differences[rows][:, generator.integers(0, problems, problems)].mean()
    low, high = np.percentile(means, [2.5, 97.5])
    return float(differences.mean()), float(low), float(high)


def mcnemar_exact(gained: int, lost: int) -> float:
    """Two-sided exact p-value that gains and losses are a fair coin's; no change at all -> 1.0.

    (8, 1) -> 0.0390625. Source: McNemar 1947, exact binomial form.
    """
    n = gained + lost
    if n == 0:
        return 1.0
    tail = sum(math.comb(n, i) for i in range(min(gained, lost) + 1)) / 2**n
    return min(1.0, 2 * tail)
