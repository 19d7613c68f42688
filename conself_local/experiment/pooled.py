"""Pool the results of an arm over seeds and benchmarks: differences with intervals, greedy answers, and the verdict.

Everything is derived from stored results, also from those of the first version, which have no ranking measure. An arm
is compared with the base model, or with another arm, its control. The greedy answers of two arms are compared by how
far each is above its base, which is the same as comparing them directly if both arms share the base's answers.
Not covered: the estimators (`evaluation/over_seeds.py`), the words (`evaluation/verdict.py`), and the tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from conself_local.evaluation.compare import reach_scores
from conself_local.evaluation.over_seeds import (
    Differences,
    PooledFlips,
    SeedInterval,
    bootstrap,
    crossed_t,
    interval_over_seeds,
    pool_flips,
)
from conself_local.evaluation.verdict import REACH_K, Change, Changes
from conself_local.experiment.results import SeedResult

Weights = Mapping[str, float] | None


@dataclass(frozen=True)
class Group:
    """Results of one arm on some benchmarks under some seeds, all of which trained an adapter."""

    results: Mapping[tuple[str, int], SeedResult]
    """(benchmark, seed) -> result, for every pair of them."""
    benchmarks: tuple[str, ...]
    seeds: tuple[int, ...]

    def compared(self, benchmark: str, seed: int) -> Mapping[str, Any]:
        """Return the stored comparison of one result."""
        compared = self.results[benchmark, seed].compared
        if compared is None:
            raise ValueError(f"no adapter was trained for {benchmark} under seed {seed}")
        return compared


def make_group(results: Sequence[SeedResult], benchmarks: Sequence[str], seeds: Sequence[int]) -> Group:
    """Return the results of an arm on these benchmarks under those of the seeds that trained an adapter on all."""
    found = {(one.benchmark, one.seed): one for one in results if one.compared}
    trained = tuple(seed for seed in seeds if all((name, seed) in found for name in benchmarks))
    return Group({(b, s): found[b, s] for b in benchmarks for s in trained}, tuple(benchmarks), trained)


def changes_of(group: Group, weights: Weights, control: Group | None = None) -> Changes:
    """Return what the verdict is made from: the adapters against their base, or against those of `control`.

    `control` must have the same benchmarks and seeds.
    """
    k = _largest_k(group, control)
    ranking = ranking_differences(group, control)
    return Changes(
        greedy=change_of(greedy_differences(group, control), group, weights),
        sampled=change_of(sampled_differences(group, control), group, weights),
        reach=change_of(sampled_differences(group, control, k), group, weights),
        k=k,
        ranking=change_of(ranking, group, weights) if ranking else None,
    )


def change_of(strata: Sequence[Differences], group: Group, weights: Weights) -> Change:
    """Return the mean of the group's differences with the interval that suits its number of seeds."""
    found = interval_over_seeds(strata, shares_of(group, weights))
    return Change(found.difference, found.low, found.high)


def sampled_intervals(group: Group, weights: Weights) -> list[SeedInterval]:
    """Return the intervals of pass@1 against the base by every method that the number of seeds allows."""
    strata, shares = sampled_differences(group), shares_of(group, weights)
    return [*([crossed_t(strata, shares)] if len(group.seeds) > 1 else []), bootstrap(strata, shares)]


def shares_of(group: Group, weights: Weights) -> list[float] | None:
    """Return the weights of the group's benchmarks; None if they have none, or if there is only one benchmark."""
    return [weights[name] for name in group.benchmarks] if weights and len(group.benchmarks) > 1 else None


def sampled_differences(group: Group, control: Group | None = None, k: int = 1) -> list[Differences]:
    """Return the differences of pass@k per benchmark, (seeds, problems); without samples, of the greedy answers."""
    return [
        np.array([_adapter_minus_other(group, control, name, seed, k) for seed in group.seeds])
        for name in group.benchmarks
    ]


def _adapter_minus_other(group: Group, control: Group | None, benchmark: str, seed: int, k: int) -> Differences:
    own = group.results[benchmark, seed]
    other = own.base if control is None else control.results[benchmark, seed].adapter
    samples = _samples(group, benchmark, seed) if k > 1 else 0
    of_other = _samples(control or group, benchmark, seed) if k > 1 else 0
    return np.subtract(reach_scores(own.adapter, samples, k), reach_scores(other, of_other, k))


def _samples(group: Group, benchmark: str, seed: int) -> int:
    return int(group.compared(benchmark, seed).get("samples_per_problem", 0))


def _largest_k(*groups: Group | None) -> int:
    """Return `REACH_K`, or the smallest number of samples per problem if that is less, 0 if one has none."""
    return min(REACH_K, *(_samples(group, *key) for group in groups if group for key in group.results))


def greedy_differences(group: Group, control: Group | None = None) -> list[Differences]:
    """Return 1 for a gained, -1 for a lost and 0 for any other greedy answer, per benchmark, (seeds, problems).

    With a control, its differences are subtracted. The order of the problems is the same for every seed.
    """
    return [_rows(group, control, name, ("gained", "lost")) for name in group.benchmarks]


def gap_closed(group: Group, weights: Weights) -> float | None:
    """Return the share of the gap from the base's greedy answers to its consensus that training has closed.

    It is the mean gain of the greedy answers divided by the mean gap. None if the gap's interval is not above zero, or
    if a result is of the first version, which knew no consensus.
    """
    if not all("consensus_gained" in group.compared(*key) for key in group.results):
        return None
    ways = ("consensus_gained", "consensus_lost")
    gap = change_of([_rows(group, None, name, ways) for name in group.benchmarks], group, weights)
    gain = change_of(greedy_differences(group), group, weights)
    return gain.difference / gap.difference if gap.rises else None


def _rows(group: Group, control: Group | None, benchmark: str, ways: tuple[str, str]) -> Differences:
    """Return 1 and -1 for the problems that the two lists of each result name, 0 for the others."""
    signed = [(1.0, group), *([(-1.0, control)] if control else [])]
    changes = [
        (row, sign * value, one.compared(benchmark, seed)[way])
        for sign, one in signed
        for row, seed in enumerate(group.seeds)
        for way, value in zip(ways, (1.0, -1.0), strict=True)
    ]
    column = {id: i for i, id in enumerate(sorted({id for _, _, ids in changes for id in ids}))}
    rows = np.zeros((len(group.seeds), len(group.results[benchmark, group.seeds[0]].base)))
    for row, value, ids in changes:
        for id in ids:
            rows[row, column[id]] += value
    return rows


def ranking_differences(group: Group, control: Group | None = None) -> list[Differences] | None:
    """Return the differences of A per benchmark, on the problems of the bank of every seed; None if one has none."""
    strata = []
    for name in group.benchmarks:
        own = [_ranking(group, name, seed) for seed in group.seeds]
        other = [_ranking(control, name, seed) for seed in group.seeds] if control else own
        common = sorted(set.intersection(*(set(one) for one in [*own, *other])))
        if not common:
            return None
        side = 1 if control else 0
        strata.append(np.array([[o[id][1] - c[id][side] for id in common] for o, c in zip(own, other, strict=True)]))
    return strata


def _ranking(group: Group, benchmark: str, seed: int) -> Mapping[str, Sequence[float]]:
    """Return problem id -> [A of the base, A of the adapter]; {} if it was not measured."""
    found: Mapping[str, Sequence[float]] = (group.compared(benchmark, seed).get("ranking") or {}).get("by_problem", {})
    return found


def flips_of(group: Group) -> PooledFlips:
    """Return the greedy answers gained and lost against the base, over all benchmarks and seeds of the group."""
    return pool_flips(
        (name, group.compared(name, seed)["gained"], group.compared(name, seed)["lost"]) for name, seed in group.results
    )
