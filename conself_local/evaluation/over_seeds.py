"""Estimate a mean difference over seeds and problems, with a 95 % interval, and pool greedy answers over seeds.

A result varies with the problems that were chosen and with the seed of the training. With three seeds, a bootstrap that
resamples them draws from three values and understates their part by a third, so `interval_over_seeds` uses Student's t
below ten seeds. The t interval treats problems and seeds as crossed random effects: every seed is judged on the same
problems, so a problem's own effect is common to all seeds, and a seed's effect is common to all problems.

Weights: benchmarks may have weights that were fixed beforehand. Each is then a stratum, whose mean counts with its
weight, whatever its number of problems. Without weights, all problems are one stratum and count the same.
Not covered: which results are compared (`experiment/pooled.py`).
Source: Satterthwaite 1946 for the degrees of freedom; the mean squares are those of a two-way analysis of variance
without replication.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from conself_local.evaluation.statistics import mcnemar_exact, stratified_bootstrap
from conself_local.evaluation.student_t import t_quantile

MIN_SEEDS_FOR_BOOTSTRAP = 10
"""From this number of seeds on, resampling them is good enough."""
Method = Literal["bootstrap", "t"]
Differences = NDArray[np.float64]
"""(S, P): one row per seed, one column per problem; the same problems in every row."""


@dataclass(frozen=True)
class SeedInterval:
    """A mean difference with its 95 % interval, as shares: 0.01 is one point."""

    difference: float
    low: float
    high: float
    method: Method


def interval_over_seeds(
    strata: Sequence[Differences], weights: Sequence[float] | None = None, *, seed: int = 0
) -> SeedInterval:
    """Return the weighted mean difference with the interval that suits the number of seeds.

    One seed: the bootstrap over problems, which cannot show how much another seed would differ. Two to nine seeds: the
    t interval. Ten or more: the bootstrap over seeds and problems. `weights` are normalised; None: one weight for each
    problem. Raises ValueError if the strata have different numbers of seeds or are empty.
    """
    seeds = len(strata[0]) if strata else 0
    if 2 <= seeds < MIN_SEEDS_FOR_BOOTSTRAP:
        return crossed_t(strata, weights)
    return bootstrap(strata, weights, seed=seed)


def bootstrap(strata: Sequence[Differences], weights: Sequence[float] | None = None, *, seed: int = 0) -> SeedInterval:
    """Return the mean difference with the interval that resamples seeds and, within each stratum, problems."""
    return SeedInterval(*stratified_bootstrap(*_verified(strata, weights), seed=seed), "bootstrap")


def crossed_t(strata: Sequence[Differences], weights: Sequence[float] | None = None) -> SeedInterval:
    """Return the mean difference with the t interval for crossed random effects of problem and seed.

    With S seeds and P problems in one stratum, the variance of the mean is (MS_problem + MS_seed - MS_rest) / (S P),
    at least the larger of MS_problem / (S P) and MS_seed / (S P), because a variance component is never negative.
    The degrees of freedom are Satterthwaite's. A stratum of one problem adds nothing to the part of the problems.
    Example: [[0, 1], [1, 3]], two seeds by two problems -> mean 1.25, MS 2.25, 2.25 and 0.25, variance 1.0625,
    degrees 1.773, interval -3.776 to 6.276.
    Raises ValueError if there are fewer than two seeds, or the strata have different numbers of seeds or are empty.
    """
    strata, shares = _verified(strata, weights)
    seeds = len(strata[0])
    if seeds < 2:
        raise ValueError("a t interval needs at least two seeds")
    of_seeds = sum(share * one.mean(axis=1) for one, share in zip(strata, shares, strict=True))
    mean, seed_part = float(np.mean(of_seeds)), float(np.var(of_seeds, ddof=1)) / seeds
    problem_parts, rest_parts = [], []
    for one, share in zip(strata, shares, strict=True):
        problems = one.shape[1]
        if problems < 2:
            continue
        scale, rest = share**2 / (seeds * problems), (seeds - 1) * (problems - 1)
        residuals = one - one.mean(axis=0) - one.mean(axis=1, keepdims=True) + one.mean()
        problem_parts.append((scale * seeds * float(np.var(one.mean(axis=0), ddof=1)), problems - 1))
        rest_parts.append((scale * float((residuals**2).sum()) / rest, rest))
    problem_part, rest_part = (sum(value for value, _ in parts) for parts in (problem_parts, rest_parts))
    variance = max(problem_part + seed_part - rest_part, problem_part, seed_part)
    if variance <= 0:
        return SeedInterval(mean, mean, mean, "t")
    terms = [(seed_part, seeds - 1), *problem_parts, *rest_parts]
    degrees = variance**2 / sum(value**2 / free for value, free in terms)
    half = t_quantile(degrees) * math.sqrt(variance)
    return SeedInterval(mean, mean - half, mean + half, "t")


def _verified(strata: Sequence[Differences], weights: Sequence[float] | None) -> tuple[list[Differences], list[float]]:
    """Return the strata with their shares of the mean, which sum to 1; without weights, one stratum of all."""
    if not strata or any(one.ndim != 2 or not one.size or len(one) != len(strata[0]) for one in strata):
        raise ValueError("every stratum needs problems, and the same seeds as the others")
    if weights is None:
        return [np.concatenate(list(strata), axis=1)], [1.0]
    if len(weights) != len(strata) or not all(weight > 0 for weight in weights):
        raise ValueError("every stratum needs a weight above 0")
    return list(strata), [weight / sum(weights) for weight in weights]


@dataclass(frozen=True)
class PooledFlips:
    """Greedy answers that changed, over several benchmarks and seeds."""

    gained: int
    lost: int
    p: float
    """McNemar's exact p-value of the two sums; with several seeds it counts each answer as independent."""
    problems_gained: int
    """Problems that were gained under more seeds than they were lost."""
    problems_lost: int
    p_by_problem: float
    """The exact p-value (sign test) of these two numbers: several seeds of one problem count as one observation."""


def pool_flips(flips: Iterable[tuple[str, Collection[str], Collection[str]]]) -> PooledFlips:
    """Pool (benchmark, ids of the gained problems, ids of the lost ones), one entry per benchmark and seed.

    54 gained and 27 lost -> p 0.0035. The same problem gained under two seeds is two gained answers and one problem.
    """
    balance: Counter[tuple[str, str]] = Counter()
    gained = lost = 0
    for benchmark, won, missed in flips:
        gained, lost = gained + len(won), lost + len(missed)
        balance.update((benchmark, id) for id in won)
        balance.subtract((benchmark, id) for id in missed)
    up, down = (sum(sign * value > 0 for value in balance.values()) for sign in (1, -1))
    return PooledFlips(gained, lost, mcnemar_exact(gained, lost), up, down, mcnemar_exact(up, down))
