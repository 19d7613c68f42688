"""Recognise failures of preference training in the metrics of its steps, and describe them in sentences.

Covered: likelihood displacement (source: arXiv 2410.08847), length drift, pairs that were learnt by heart or hardly at
all, large gradients, an early stop. Each threshold stands here, once; the screens use the same functions.
Not covered: whether the adapter is better (`evaluation/`). Pure functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TypeVar

from conself_local.events import Notice, NoticeKind, StepDone
from conself_local.training.job import TokenPair, TrainingJob

T = TypeVar("T")
DISPLACED_NATS = 0.1
"""Nats per token that the chosen completions may lose without a warning."""
_LEARNT_BY_HEART_MARGIN = 3.0
_NO_BETTER_THAN_CHANCE = 0.55
_LENGTH_DRIFT = 1.3
_LARGE_GRADIENT_NORM = 20.0


def displacement_window(job: TrainingJob) -> int:
    """Return the number of last steps that the early stop averages over: half an epoch, but at least three."""
    return max(3, job.steps_per_epoch // 2)


def is_displaced(job: TrainingJob, recent_shifts: Sequence[float]) -> bool:
    """Return whether the chosen completions lost more than `max_displacement` nats per token on average over a window.

    False while there are fewer steps than `displacement_window`, or if the job has no limit.
    """
    if job.max_displacement is None or len(recent_shifts) < displacement_window(job):
        return False
    return fmean(recent_shifts) < -job.max_displacement


def _last_third(steps: Sequence[T]) -> Sequence[T]:
    """Return the steps that the warnings average over: the last third, at least one."""
    return steps[-max(1, len(steps) // 3) :]


def displaced_by(chosen_shifts: Sequence[float]) -> float | None:
    """Return the mean of the last third of the chosen completions' shifts if it is low enough for a warning, else None.

    One shift per step so far, in nats per token. `[0.0, 0.0, -0.2]` -> -0.2; `[0.0, 0.0, -0.1]` -> None.
    """
    if not chosen_shifts:
        return None
    shift = fmean(_last_third(chosen_shifts))
    return shift if shift < -DISPLACED_NATS else None


def training_warnings(steps: Sequence[StepDone], pairs: Sequence[TokenPair]) -> list[Notice]:
    """Return one warning per problem of a run that has ended; an empty list if there is none.

    Shift, accuracy and margin are means over the last third of the steps.
    """
    if not steps:
        return []
    found = {**_learning_warnings(steps), **_stability_warnings(steps)}
    ratio = fmean(len(p.chosen) for p in pairs) / fmean(len(p.rejected) for p in pairs)
    if not 1 / _LENGTH_DRIFT < ratio < _LENGTH_DRIFT:
        way = "longer" if ratio > 1 else "shorter"
        found[NoticeKind.LENGTH_DRIFT] = (
            f"chosen answers are {ratio:.2f} times as long as rejected ones, so answers may drift {way}"
        )
    return [Notice(text, kind, "train") for kind, text in found.items()]


def _learning_warnings(steps: Sequence[StepDone]) -> dict[NoticeKind, str]:
    """Return what the means over the last third of the steps say about what was learnt."""
    found = {}
    accuracy, margin = (fmean(getattr(s, name) for s in _last_third(steps)) for name in ("reward_accuracy", "margin"))
    if (shift := displaced_by([s.chosen_logp_shift for s in steps])) is not None:
        found[NoticeKind.DISPLACEMENT] = (
            f"the chosen answers became less likely ({shift:+.2f} nats per token): lowering the rejected answers "
            "lowered them too; a larger sft_weight or a lower learning rate helps"
        )
    if accuracy == 1.0 and margin > _LEARNT_BY_HEART_MARGIN:
        found[NoticeKind.OVERFITTING] = (
            f"the pairs were learnt by heart (every pair right, mean margin {margin:.1f}): fewer epochs are enough"
        )
    if accuracy < _NO_BETTER_THAN_CHANCE and len(steps) >= 3:
        found[NoticeKind.UNDERFITTING] = (
            f"the pairs were hardly learnt (right on {accuracy:.0%}): a higher learning rate or more epochs may help"
        )
    return found


def _stability_warnings(steps: Sequence[StepDone]) -> dict[NoticeKind, str]:
    """Return what all steps say about how the run went."""
    found, last = {}, steps[-1]
    largest_norm = max(s.gradient_norm for s in steps)
    if largest_norm > _LARGE_GRADIENT_NORM:
        found[NoticeKind.LARGE_GRADIENTS] = (
            f"gradient norms were as large as {largest_norm:.0f} before clipping: "
            "a lower learning rate makes training more stable"
        )
    if last.step < last.steps:
        found[NoticeKind.STOPPED_EARLY] = (
            f"training was stopped early at step {last.step} of {last.steps}, "
            "because the chosen answers became less likely than training.max_displacement allows"
        )
    return found
