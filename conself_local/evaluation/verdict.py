"""Decide in one word what a change of the model is: better, surer, worse, or no measurable change.

Training on its own samples makes a model surer of itself: sampled answers come nearer to the greedy one, and pass@1
rises without anything having been learnt. So `better` needs more: greedy answers or the ranking measure A rise, which
sharpening does not move, and the model does not lose reach, the problems that it solves in several tries.
Every place that shows a verdict takes its words from here. Not covered: the estimates (`compare.py`, `over_seeds.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MAX_LOSS_OF_REACH = 0.02
"""The largest fall of pass@k, as a share, that the interval of a better model may hold."""
REACH_K = 10
"""Reach is pass@10, or the largest k that was sampled."""
Word = Literal["better", "surer", "no measurable change", "worse"]


@dataclass(frozen=True)
class Change:
    """A difference with its 95 % interval, as shares: 0.01 is one point."""

    difference: float
    low: float
    high: float

    @property
    def rises(self) -> bool:
        """Whether the whole interval is above zero."""
        return self.low > 0

    @property
    def falls(self) -> bool:
        """Whether the whole interval is below zero."""
        return self.high < 0

    def __str__(self) -> str:
        return f"{100 * self.difference:+.1f} ({100 * self.low:+.1f} to {100 * self.high:+.1f})"


@dataclass(frozen=True)
class Changes:
    """What a verdict is made from: the adapter against the base, or an arm against its control."""

    greedy: Change
    sampled: Change
    """pass@1 of the sampled answers; of the greedy ones if none were sampled."""
    reach: Change
    """pass@k at `k`; of the greedy answers if none were sampled."""
    k: int
    """`REACH_K`, or the largest k that was sampled; 0: nothing was sampled, so reach is not known."""
    ranking: Change | None = None
    """The ranking measure A; None: not measured."""

    @property
    def word(self) -> Word:
        """The verdict.

        `better`: greedy or A rises, neither of them falls, and the interval of pass@k does not reach below -2 points.
        `surer`: one of them rises and the other does not fall, or the sampled pass@1 rises, without all that `better`
        needs. `worse`: none of that, and something falls. A fall or rise is one whose whole interval is on one side of
        zero.
        """
        if self._is_progress and self._keeps_reach:
            return "better"
        if self._is_progress or self.sampled.rises:
            return "surer"
        measured = [self.greedy, self.sampled, self.reach, *([self.ranking] if self.ranking else [])]
        return "worse" if any(change.falls for change in measured) else "no measurable change"

    @property
    def _is_progress(self) -> bool:
        measured = [self.greedy, *([self.ranking] if self.ranking else [])]
        return any(change.rises for change in measured) and not any(change.falls for change in measured)

    @property
    def _keeps_reach(self) -> bool:
        return self.k > 0 and self.reach.low >= -MAX_LOSS_OF_REACH

    def sentence(self) -> str:
        """Return the verdict with the reason if it is `surer`, and with the figures that it rests on."""
        reach = f"pass@{self.k}" + (", the largest k sampled," if 1 < self.k < REACH_K else "")
        figures = [f"greedy {self.greedy}", *([f"pass@1 {self.sampled}"] if self.k else [])]
        figures += [f"{reach} {self.reach}"] if self.k > 1 else []
        figures += [f"A {self.ranking}"] if self.ranking else []
        return f"{self.word}{self._reason()} (points, 95 % interval): {', '.join(figures)}"

    def _reason(self) -> str:
        if self.word != "surer":
            return ""
        if self._is_progress and not self.k:
            return ", because nothing was sampled that would show whether reach is lost"
        if self._is_progress:
            return f", because pass@{self.k} may fall by more than {100 * MAX_LOSS_OF_REACH:g} points"
        if self.ranking is None:
            return ", because greedy does not rise"
        if self.greedy.rises:
            return ", because greedy rises but A falls"
        return ", because " + ("A rises but greedy falls" if self.ranking.rises else "neither greedy nor A rises")
