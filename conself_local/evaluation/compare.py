"""Two arms on one benchmark: pass@k, the paired difference with its interval, McNemar, gained and lost by name, and
the verdict in one sentence. Pure: plain values in, plain values out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from conself_local.evaluation.statistics import mcnemar_exact, paired_bootstrap, pass_at_k


@dataclass(frozen=True)
class ArmSamples:
    sampled: dict[str, list[bool]]
    """Per problem, whether each sample is right; empty lists where only the greedy answer was asked."""
    greedy: dict[str, bool]
    parsed: list[bool]
    crashed: list[bool]
    """Failed on every input, or held no program."""
    tokens: list[int]


def arm_summary(arm: ArmSamples) -> dict[str, Any]:
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
    """Per problem the share of right samples (an unbiased pass@1); the greedy answer where nothing was sampled."""
    return {p: fmean(s) if s else float(arm.greedy[p]) for p, s in arm.sampled.items()}


def compare(arms: Mapping[str, ArmSamples], *, seed: int) -> dict[str, Any]:
    """The result of one benchmark as plain JSON values; `arms` holds `base` and `adapter` over the same problems."""
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
    """`better` or `worse` only where the whole 95 % interval is on one side of zero."""
    points = f"{100 * difference:+.1f} points pass@1, 95 % interval {100 * low:+.1f} to {100 * high:+.1f}"
    if low > 0:
        return f"better ({points})"
    if high < 0:
        return f"worse ({points})"
    return f"no measurable change ({points})"
