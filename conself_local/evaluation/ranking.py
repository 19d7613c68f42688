"""Compute the ranking measure A: how often a model finds a right program likelier than a wrong one.

A needs no sampling: the log-probabilities of programs that were judged already are compared. A model that is only made
surer of itself (each probability p becomes proportional to p to the power a > 0) orders the answers as before, so its A
does not move; pass@1 does. This holds because the log-probability is the sum over all tokens of the answer, not the
mean: the mean would also reward another length.
Not covered: which programs are compared and how they are scored (`stages/ranking.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from conself_local.evaluation.statistics import paired_bootstrap


@dataclass(frozen=True)
class ScoredProgram:
    """A judged program of the bank: its log-probability (nats, sum over its tokens) under both models."""

    right: bool
    base: float
    adapter: float


def ranking_accuracy(right: Sequence[float], wrong: Sequence[float]) -> float:
    """Return the share of pairs (right, wrong) in which the right one has the higher score; a tie counts as one half.

    ([-1, -4], [-2, -4]) -> (1 + 1 + 0 + 0.5) / 4 = 0.625. Raises ValueError if either side is empty.
    """
    if not right or not wrong:
        raise ValueError("a right and a wrong program are needed")
    return fmean(1.0 if r > w else 0.5 if r == w else 0.0 for r in right for w in wrong)


def ranking_result(bank: Mapping[str, Sequence[ScoredProgram]], *, seed: int) -> dict[str, Any]:
    """Return A of both models as plain JSON values, each problem that has right and wrong programs counted once.

    bank: problem id -> its programs. seed: of the bootstrap over problems. The result holds `base` and `adapter` in
    0..1, `difference` (adapter minus base) with `interval_95`, `problems`, `programs`, and `by_problem`: id -> [base,
    adapter]. Without such a problem it holds only `reason`.
    """
    of_problem: dict[str, list[float]] = {}
    programs = 0
    for problem, scored in sorted(bank.items()):
        right, wrong = ([one for one in scored if one.right is side] for side in (True, False))
        if right and wrong:
            programs += len(scored)
            of_problem[problem] = [
                ranking_accuracy([one.base for one in right], [one.base for one in wrong]),
                ranking_accuracy([one.adapter for one in right], [one.adapter for one in wrong]),
            ]
    if not of_problem:
        return {"reason": "no problem has both a right and a wrong answer of the base"}
    before, after = ([pair[side] for pair in of_problem.values()] for side in (0, 1))
    difference, low, high = paired_bootstrap(before, after, seed=seed)
    return {
        "problems": len(of_problem),
        "programs": programs,
        "base": fmean(before),
        "adapter": fmean(after),
        "difference": difference,
        "interval_95": [low, high],
        "by_problem": of_problem,
    }


def select_bank(right: Sequence[str], wrong: Sequence[str], at_most: int) -> list[str]:
    """Return at most `at_most` programs, half of them right if there are enough of both; [] if a side is empty.

    (["a", "b", "c"], ["x"], 3) -> ["a", "b", "x"]: what one side lacks, the other fills.
    """
    if not right or not wrong or at_most < 2:
        return []
    rights = min(len(right), max(at_most // 2, at_most - len(wrong)))
    return [*right[:rights], *wrong[: at_most - rights]]
