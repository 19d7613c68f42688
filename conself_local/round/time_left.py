"""Estimate how much of a round is done and how long the rest takes, from what was measured while it ran.

Pure functions over counts and rates. Not covered: a forecast before a round begins (`forecast.py`). Nothing is taken
from another model or computer: what was never measured here is named as unknown instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SAMPLED = ("observe", "sample", "evaluate")
"""Stages in which the model writes answers; an answer takes about as long in each of them."""
_SURE_SHARE = 0.05
"""Until this share of the work is done, a measured rate is little more than a guess."""
_SPREAD = 1.5


@dataclass(frozen=True)
class TimeLeft:
    """How far a round is, and how long it still takes."""

    share: float
    """Share of the expected work that is done, in [0, 1]."""
    seconds: float | None
    """Seconds that the stages of known speed still take; None if no speed is known."""
    unknown: tuple[str, ...]
    """Stages with work left whose speed has not been measured here."""
    sure: bool
    """Whether enough was done for one number; before that, a range is honest."""

    @property
    def range(self) -> tuple[float, float]:
        """The least and the most seconds, for an estimate that is not sure yet."""
        seconds = self.seconds or 0.0
        return seconds / _SPREAD, seconds * _SPREAD


def time_left(progress: Sequence[Mapping[str, Any]], seconds_per_item: Mapping[str, float | None]) -> TimeLeft:
    """Return how far the round is.

    progress: rows of `store.reports.progress`, with the expected total where the real one is not known yet.
    seconds_per_item: stage -> seconds of one item, None if it was not measured. A missing stage costs nothing: it works
    beside another one, or takes moments.
    Example: 50 of 100 programs at 2 s each and nothing else -> share 0.5, 100 s left.
    """
    measured = [value for value in seconds_per_item.values() if value]
    typical = sum(measured) / len(measured) if measured else 1.0
    done = left = left_unmeasured = 0.0
    unknown = []
    for row in progress:
        if row["stage"] not in seconds_per_item:
            continue
        each, remaining = seconds_per_item[row["stage"]], max(0, row["total"] - row["done"])
        done += row["done"] * (each or typical)
        if each is not None:
            left += remaining * each
        elif remaining:
            unknown.append(row["stage"])
            left_unmeasured += remaining * typical
    total = done + left + left_unmeasured
    share = done / total if total else 0.0
    return TimeLeft(share, left if measured else None, tuple(unknown), share >= _SURE_SHARE)
