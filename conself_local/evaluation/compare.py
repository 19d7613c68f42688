"""Compare two arms on one benchmark.

The result holds pass@k, the paired difference with its 95 % interval, McNemar's p-value, the gained and lost problems
by name, and the verdict in one sentence. The functions are pure: they take and return plain values.
Not covered: judging programs (`judge.py`), the estimators and their sources (`statistics.py`), and experiments over
several seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from conself_local.evaluation.statistics import mcnemar_exact, paired_bootstrap, pass_at_k


@dataclass(frozen=True)
class ArmSamples:
    """The judged answers of one arm on one benchmark; `parsed`, `crashed` and `tokens` include the greedy answers."""

    sampled: dict[str, list[bool]]
    """Problem id -> whether each sample is right; empty lists if only the greedy answer was asked for."""
    greedy: dict[str, bool]
    """Problem id -> whether the greedy answer is right."""
    parsed: list[bool]
    """Whether each answer contains a program that compiles."""
    crashed: list[bool]
    """Whether each answer failed on every input or contained no program."""
    tokens: list[int]
    """Length of each answer, in tokens."""


def arm_summary(arm: ArmSamples) -> dict[str, Any]:
    """Return the metrics of one arm as plain JSON values: shares in 0..1, and the mean length in tokens.

    `pass_at` maps k as text ("1" to "n") to pass@k, averaged over the problems with samples; n is the smallest number
    of samples per problem, and `pass_at` is empty if nothing was sampled. Raises statistics.StatisticsError for an arm
    without answers.
    """
    counts = [(len(s), sum(s)) for s in arm.sampled.values() if s]
    n = min((count for count, _ in counts), default=0)
    return {
        "greedy_pass_at_1": fmean(arm.greedy.values()),
        "pass_at": {str(k): fmean(pass_at_k(count, right, k) for count, right in counts) for k in range(1, n + 1)},
        "parsed_share": fmean(arm.parsed),
        "crashed_share": fmean(arm.crashed),
        "mean_tokens": fmean(arm.tokens),
    }


def problem_scores(arm: ArmSamples) -> dict[str, float]:
    """Return problem id -> share of right samples (an unbiased pass@1), in 0..1.

    For a problem without samples the greedy answer counts as 0 or 1.
    """
    return {p: fmean(s) if s else float(arm.greedy[p]) for p, s in arm.sampled.items()}


def compare(arms: Mapping[str, ArmSamples], *, seed: int) -> dict[str, Any]:
    """Return the result of one benchmark as plain JSON values.

    arms: `base` and `adapter`, over the same problems. seed: of the bootstrap. `difference` and `interval_95` are
    adapter minus base, as shares (0.01 is one point of pass@1); `gained` and `lost` compare the greedy answers.
    """
    base, adapter = arms["base"], arms["adapter"]
    before, after = problem_scores(base), problem_scores(adapter)
    problems = sorted(before)
    difference, low, high = paired_bootstrap([before[p] for p in problems], [after[p] for p in problems], seed=seed)
    gained = [p for p in problems if adapter.greedy[p] and not base.greedy[p]]
    lost = [p for p in problems if base.greedy[p] and not adapter.greedy[p]]
    return {
        "problems": len(problems),
        "samples_per_problem": len(base.sampled[problems[0]]),
        "base": arm_summary(base),
        "adapter": arm_summary(adapter),
        "difference": difference,
        "interval_95": [low, high],
        "mcnemar_p": mcnemar_exact(len(gained), len(lost)),
        "gained": gained,
        "lost": lost,
        "verdict": verdict(difference, low, high),
    }


def verdict(difference: float, low: float, high: float) -> str:
    """Return the verdict: `better` or `worse` only if the whole 95 % interval is on one side of zero.

    difference, low, high: shares; 0.01 is one point of pass@1.
    """
    points = f"{100 * difference:+.1f} points pass@1, 95 % interval {100 * low:+.1f} to {100 * high:+.1f}"
    if low > 0:
        return f"better ({points})"
    if high < 0:
        return f"worse ({points})"
    return f"no measurable change ({points})"
