"""Summarise the answers of several models to the same problems: means with intervals, and paired differences.

The functions are pure: they take and return plain values. Not covered: collecting the answers (`stages/bench.py`), the
bootstrap and its source (`statistics.py`), and adapters that a round has trained (`compare.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from conself_local.evaluation.statistics import paired_bootstrap


@dataclass(frozen=True, kw_only=True)
class ProblemAnswers:
    """What a model answered to one problem: a greedy answer and samples."""

    greedy_right: bool | None
    """None if the problem has no reference, as in the other fields."""
    samples_right: tuple[bool, ...] | None
    consensus_right: bool | None
    """Whether the program on which most samples agree is right; False if no sample votes."""
    agreement: float | None
    """Share of the samples that behave as that program, in [0, 1]; None without samples."""
    ran: float
    """Share of all answers whose program gave an output on some input, in [0, 1]."""
    greedy_tokens: int
    sampled_tokens: int
    """Of all samples together."""


@dataclass(frozen=True, kw_only=True)
class ArmAnswers:
    """The answers of one model, in the order of the problems, and how long they took to sample."""

    label: str
    answers: Sequence[ProblemAnswers]
    greedy_s: float
    sampled_s: float


_MEASURES: dict[str, Callable[[ProblemAnswers], float | None]] = {
    "greedy": lambda one: None if one.greedy_right is None else float(one.greedy_right),
    "sampled": lambda one: fmean(one.samples_right) if one.samples_right else None,
    "consensus": lambda one: None if one.consensus_right is None else float(one.consensus_right),
    "agreement": lambda one: one.agreement,
    "ran": lambda one: one.ran,
}
"""Measure -> its value for one problem, in [0, 1]; None if the problem does not have it."""
JUDGED = ("greedy", "sampled", "consensus")
"""The measures that need a reference."""


def mean_interval(scores: Sequence[float], *, seed: int) -> tuple[float, float, float]:
    """Return (mean, 2.5 % percentile, 97.5 % percentile) over resampled problems.

    `[1.0, 1.0]` -> (1.0, 1.0, 1.0). Raises ValueError for no scores.
    """
    return paired_bootstrap([0.0] * len(scores), scores, seed=seed)


def bench_result(arms: Sequence[ArmAnswers], *, seed: int) -> dict[str, Any]:
    """Return the table as plain JSON values; all arms answered the same problems, of which there is at least one.

    Each arm has `[mean, low, high]` per measure, as shares (None: the problems do not have it), and seconds and tokens
    per problem. `against_first` of a later arm holds its differences from the first arm, as `[difference, low, high]`.
    """
    return {"problems": len(arms[0].answers), "arms": [_arm(one, arms[0], seed) for one in arms]}


def _arm(arm: ArmAnswers, first: ArmAnswers, seed: int) -> dict[str, Any]:
    count = len(arm.answers)
    values: dict[str, Any] = {"label": arm.label}
    scores, base = _scores(arm), _scores(first)
    for name in _MEASURES:
        values[name] = list(mean_interval(scores[name], seed=seed)) if name in scores else None
    values |= {
        "greedy_seconds": arm.greedy_s / count,
        "sampled_seconds": arm.sampled_s / count,
        "greedy_tokens": sum(one.greedy_tokens for one in arm.answers) / count,
        "sampled_tokens": sum(one.sampled_tokens for one in arm.answers) / count,
    }
    if arm is not first:
        both = [name for name in JUDGED if name in scores and name in base]
        values["against_first"] = {name: list(paired_bootstrap(base[name], scores[name], seed=seed)) for name in both}
    return values


def _scores(arm: ArmAnswers) -> Mapping[str, list[float]]:
    """Return measure -> one value per problem, for the measures that every problem has."""
    found = {name: [measure(one) for one in arm.answers] for name, measure in _MEASURES.items()}
    return {
        name: [value for value in values if value is not None] for name, values in found.items() if None not in values
    }
