"""Compare two arms on one benchmark.

The result holds, of each arm, the greedy and sampled pass@1, the consensus of the samples, pass@k for every k, tokens,
and how many answers parse, crash or are cut; of the adapter against the base, the paired differences with their 95 %
intervals, the share of the gap to consensus that training closed, McNemar's p-value and the problems gained and lost;
and the verdict in one sentence. The functions are pure: they take and return plain values.
Not covered: judging programs (`judge.py`), the estimators and their sources (`statistics.py`), the words of the verdict
(`verdict.py`), and experiments over several seeds (`over_seeds.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from conself_local.evaluation.statistics import mcnemar_exact, paired_bootstrap, pass_at_k
from conself_local.evaluation.verdict import REACH_K, Change, Changes

VERSION = 2
"""Version of a result; a result without a version is of the first one (`first_version`)."""
CONSENSUS_SAMPLES = 15
"""The consensus is taken of the first samples of a problem, at most this many."""
_FIRST_KEYS = (
    "problems", "samples_per_problem", "base", "adapter", "difference", "interval_95", "mcnemar_p", "gained", "lost",
)  # fmt: skip
_FIRST_ARM_KEYS = ("greedy_pass_at_1", "pass_at", "parsed_share", "crashed_share", "mean_tokens")


@dataclass(frozen=True, kw_only=True)
class ArmSamples:
    """The judged answers of one arm on one benchmark; the lists include the greedy answers."""

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
    cut: list[bool] = field(default_factory=list)
    """Whether each answer was cut at the largest number of tokens."""
    consensus: dict[str, bool] = field(default_factory=dict)
    """Problem id -> whether the consensus of its first samples, at most `CONSENSUS_SAMPLES`, is right."""


def arm_summary(arm: ArmSamples) -> dict[str, Any]:
    """Return the metrics of one arm as plain JSON values: shares in 0..1, and the mean length in tokens.

    `pass_at` maps k as text ("1" to "n") to pass@k, averaged over the problems with samples; n is the smallest number
    of samples per problem, and `pass_at` is empty if nothing was sampled. `consensus` is None then, and `cut_share` if
    it is not known. Raises statistics.StatisticsError for an arm without answers.
    """
    counts = _counts(arm)
    n = min((count for count, _ in counts.values()), default=0)
    return {
        "greedy_pass_at_1": fmean(arm.greedy.values()),
        "pass_at": {
            str(k): fmean(pass_at_k(count, right, k) for count, right in counts.values()) for k in range(1, n + 1)
        },
        "consensus": fmean(arm.consensus.values()) if arm.consensus else None,
        "parsed_share": fmean(arm.parsed),
        "crashed_share": fmean(arm.crashed),
        "cut_share": fmean(arm.cut) if arm.cut else None,
        "mean_tokens": fmean(arm.tokens),
    }


def _counts(arm: ArmSamples) -> dict[str, tuple[int, int]]:
    """Return problem id -> (number of samples, number of right ones), for the problems with samples."""
    return {problem: (len(s), sum(s)) for problem, s in arm.sampled.items() if s}


def problem_scores(arm: ArmSamples) -> dict[str, float]:
    """Return problem id -> share of right samples (an unbiased pass@1), in 0..1.

    For a problem without samples the greedy answer counts as 0 or 1.
    """
    return {p: fmean(s) if s else float(arm.greedy[p]) for p, s in arm.sampled.items()}


def reach_scores(shares: Sequence[float], samples: int, k: int) -> list[float]:
    """Return pass@k of each problem from its share of right samples; with no samples, the shares themselves.

    ([0.4], 5, 2) -> [0.7].
    """
    return [pass_at_k(samples, round(share * samples), k) for share in shares] if samples else list(shares)


def compare(arms: Mapping[str, ArmSamples], *, seed: int, ranking: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the result of one benchmark as plain JSON values.

    arms: `base` and `adapter`, over the same problems. seed: of the bootstrap. ranking: the result of
    `ranking.ranking_result`, None if it was not asked for. `difference` and `interval_95` are adapter minus base, as
    shares (0.01 is one point of pass@1); `gained` and `lost` compare the greedy answers; `greedy` and `reach` hold the
    same differences for the greedy answers and for pass@k; `closed` is what `gap_closed` returns, and
    `consensus_gained` and `consensus_lost` compare the base's consensus with its greedy answers.
    """
    base, adapter = arms["base"], arms["adapter"]
    problems = sorted(base.sampled)
    before, after = ([problem_scores(arm)[p] for p in problems] for arm in (base, adapter))
    samples = min(len(s) for arm in (base, adapter) for s in arm.sampled.values())
    k = min(REACH_K, samples)
    changes = Changes(
        greedy=_change(base.greedy, adapter.greedy, problems, seed),
        sampled=Change(*paired_bootstrap(before, after, seed=seed)),
        reach=Change(*paired_bootstrap(_reach(base, problems, k), _reach(adapter, problems, k), seed=seed)),
        k=k,
        ranking=Change(ranking["difference"], *ranking["interval_95"]) if ranking and "base" in ranking else None,
    )
    gained, lost = _flips(base.greedy, adapter.greedy)
    above, below = _flips(base.greedy, base.consensus)
    return {
        "version": VERSION,
        "problems": len(problems),
        "samples_per_problem": len(base.sampled[problems[0]]),
        "consensus_samples": min(samples, CONSENSUS_SAMPLES),
        "base": arm_summary(base),
        "adapter": arm_summary(adapter),
        "difference": changes.sampled.difference,
        "interval_95": [changes.sampled.low, changes.sampled.high],
        "greedy": _values(changes.greedy),
        "reach": _values(changes.reach) | {"k": k},
        "closed": gap_closed(base, adapter, seed=seed),
        "consensus_gained": above,
        "consensus_lost": below,
        "ranking": dict(ranking) if ranking else None,
        "mcnemar_p": mcnemar_exact(len(gained), len(lost)),
        "gained": gained,
        "lost": lost,
        "word": changes.word,
        "verdict": changes.sentence(),
    }


def gap_closed(base: ArmSamples, adapter: ArmSamples, *, seed: int) -> dict[str, Any]:
    """Return {"share"}: how much of the gap from the base's greedy answers to its consensus training has closed.

    It is (adapter greedy - base greedy) / (base consensus - base greedy): 0 if the greedy answers are as before, 1 if
    they are as good as the base's consensus, and it may be below 0 or above 1. Only {"reason"} if the interval of the
    gap is not above zero: the share would then be a quotient of noise.
    Example: base greedy 0.30, base consensus 0.40, adapter greedy 0.34 -> 0.4.
    """
    if not base.consensus:
        return {"reason": "nothing was sampled, so there is no consensus"}
    gap = _change(base.greedy, base.consensus, sorted(base.greedy), seed)
    if not gap.rises:
        return {"reason": f"the base's consensus is not clearly above its greedy answers: {gap} points"}
    return {"share": (fmean(adapter.greedy.values()) - fmean(base.greedy.values())) / gap.difference}


def _flips(before: Mapping[str, bool], after: Mapping[str, bool]) -> tuple[list[str], list[str]]:
    """Return the problems that became right, and those that became wrong; only those that both sides have."""
    both = sorted(set(before) & set(after))
    return [p for p in both if after[p] and not before[p]], [p for p in both if before[p] and not after[p]]


def _change(before: Mapping[str, bool], after: Mapping[str, bool], problems: Sequence[str], seed: int) -> Change:
    one, other = ([float(side[p]) for p in problems] for side in (before, after))
    return Change(*paired_bootstrap(one, other, seed=seed))


def _reach(arm: ArmSamples, problems: Sequence[str], k: int) -> list[float]:
    """Return pass@k of each problem; that of the greedy answer if the problem has no samples or k is 0."""
    counts = _counts(arm)
    return [pass_at_k(*counts[p], k) if k and p in counts else float(arm.greedy[p]) for p in problems]


def _values(change: Change) -> dict[str, Any]:
    return {"difference": change.difference, "interval_95": [change.low, change.high]}


def first_version(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result as the first version of this program would have stored it, with its words.

    It looked at the sampled pass@1 alone, and said `better` or `worse` if the interval was on one side of zero.
    """
    difference, (low, high) = result["difference"], result["interval_95"]
    points = f"{100 * difference:+.1f} points pass@1, 95 % interval {100 * low:+.1f} to {100 * high:+.1f}"
    word = "better" if low > 0 else "worse" if high < 0 else "no measurable change"
    old = {key: result[key] for key in _FIRST_KEYS}
    for arm in ("base", "adapter"):
        old[arm] = {key: result[arm][key] for key in _FIRST_ARM_KEYS}
    return old | {"verdict": f"{word} ({points})"}
