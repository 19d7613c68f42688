"""What goes wrong in preference training, seen in the figures of its steps and told in words. Pure functions.

Source of the failures: likelihood displacement (arXiv 2410.08847), length drift, pairs learnt by heart.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from conself_local.events import StepDone
from conself_local.training.job import TokenPair, TrainingJob

_FELL = 0.1
"""Nats a token that the chosen answers may lose before it is told."""
_BY_HEART_MARGIN = 3.0
_NO_BETTER_THAN_CHANCE = 0.55
_LENGTH_DRIFT = 1.3
_STEEP = 20.0


def displacement_window(job: TrainingJob) -> int:
    """How many of the last steps the early stop looks at: half an epoch, at least three."""
    return max(3, job.steps_per_epoch // 2)


def is_displaced(job: TrainingJob, recent_shifts: Sequence[float]) -> bool:
    """Whether the chosen answers have lost more than `max_displacement` nats a token over a whole window of steps."""
    if job.max_displacement is None or len(recent_shifts) < displacement_window(job):
        return False
    return fmean(recent_shifts) < -job.max_displacement


def training_warnings(steps: Sequence[StepDone], pairs: Sequence[TokenPair]) -> list[str]:
    """One sentence for each thing to know about a run that has ended; none when there is nothing."""
    if not steps:
        return []
    last = steps[-max(1, len(steps) // 3) :]
    found = []
    shift, accuracy, margin = (
        fmean(getattr(s, name) for s in last) for name in ("chosen_logp_shift", "reward_accuracy", "margin")
    )
    if shift < -_FELL:
        found.append(
            f"the chosen answers themselves became less likely ({shift:+.2f} nats a token): what pushes the rejected down "
            "takes them along; a larger sft_weight or a lower learning rate helps"
        )
    if accuracy == 1.0 and margin > _BY_HEART_MARGIN:
        found.append(
            f"the pairs were learnt by heart (every pair right, mean margin {margin:.1f}): fewer epochs would do"
        )
    if accuracy < _NO_BETTER_THAN_CHANCE and len(steps) >= 3:
        found.append(
            f"the pairs were hardly learnt (right on {accuracy:.0%}): a higher learning rate or more epochs may help"
        )
    ratio = fmean(len(p.chosen) for p in pairs) / fmean(len(p.rejected) for p in pairs)
    if not 1 / _LENGTH_DRIFT < ratio < _LENGTH_DRIFT:
        way = "longer" if ratio > 1 else "shorter"
        found.append(f"chosen answers are {ratio:.2f} times as long as rejected ones, so answers may drift {way}")
    steepest = max(s.gradient_norm for s in steps)
    if steepest > _STEEP:
        found.append(
            f"gradients were as large as {steepest:.0f} before they were cut: a lower learning rate is steadier"
        )
    if last[-1].step < last[-1].steps:
        found.append(f"training was stopped early at step {last[-1].step} of {last[-1].steps}, before more was lost")
    return found
