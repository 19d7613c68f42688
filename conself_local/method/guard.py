"""Decide without labels whether a round lost variety: the answers of the adapter against those of the model before it.

A model that trains on its own programs repeats itself before it gets worse: its programs do fewer different things and
become shorter, or it changes its mind about what it was sure of. Such a round is refused, and so is one that changed
hardly anything. Behaviours are compared with behaviours, so no right answer is needed.
Both sides must have answered the same problems, equally often and with equal seeds. With few problems, chance alone
moves these figures; then the guard says that it cannot judge and refuses nothing. Five samples of a problem with two
close behaviours change their top behaviour by chance, so a flip counts only if one behaviour clearly led before.
Not covered: which samples are compared (`stages/guard.py`), and whether the answers are right (`evaluation/`).
Source: the signs and limits are this project's; they are those that its own three rounds on one small model suggest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from conself_local.method.behaviour import Behaviour, is_crashed

MAX_FALL_OF_BEHAVIOURS = 0.15
"""Largest fall of the mean number of different behaviours per problem, as a share of that before."""
MAX_FALL_OF_LENGTH = 0.15
"""Largest fall of the mean length of an answer in tokens, as a share of that before."""
MIN_FLIP_RATE = 0.05
MAX_FLIP_RATE = 0.30
"""Least and largest share of problems whose top behaviour changes, among those with a clear top behaviour before."""
MAX_DISAGREEMENT = 0.10
"""Largest share of problems on which the consensus changes, among those of which the model before was sure."""
SURE_SHARE = 0.6
"""The model before is sure of a problem if more than this share of its answers behaves as its consensus does."""
MIN_SAMPLES = 5
"""Least number of sampled answers per problem and side."""
MIN_PROBLEMS = 30
"""Least number of problems, and of problems with a clear top behaviour."""
MIN_SURE_PROBLEMS = 20
"""Least number of problems of which the model before is sure, for the disagreement to count."""


@dataclass(frozen=True)
class Answers:
    """The sampled answers of one side to one problem."""

    behaviours: Sequence[Behaviour]
    """One per answer; a crashed one for an answer without a program, and for one that is not counted."""
    tokens: Sequence[int]
    """Length of each answer in tokens."""
    consensus: Behaviour | None
    """The behaviour of the program that consensus picks; None if every program failed on every input."""


@dataclass(frozen=True)
class GuardResult:
    """What the guard found."""

    refusals: tuple[str, ...]
    """Why the round is refused, one phrase per sign; empty if it is not."""
    unjudged: tuple[str, ...]
    """What could not be judged and why, one phrase each."""
    figures: dict[str, float]
    """The figures that were judged, by name; falls and rates are shares."""

    def sentence(self) -> str:
        """Return the result in words, without a full stop."""
        if self.refusals:
            return "the guard refuses the round: " + "; ".join(self.refusals)
        if not self.figures:
            return "the guard cannot judge the round: " + "; ".join(self.unjudged)
        text = "the guard found no loss of variety"
        return f"{text}, but it cannot judge everything: {'; '.join(self.unjudged)}" if self.unjudged else text


def guard_round(before: Sequence[Answers], after: Sequence[Answers]) -> GuardResult:
    """Judge the round by the answers to the same problems before and after it.

    Refused is a fall of the behaviours per problem or of the answers' length by more than 15 %, a flip rate below 5 %
    or above 30 %, and a disagreement on more than 10 % of the problems of which the model before was sure.
    Worked numbers: 40 problems with the behaviours (A, A, A, A, B) before. If 3 of them have (B, B, B, B, B) after and
    the others are unchanged, the behaviours fall from 2 to 77/40, by 3.75 %, the flip rate is 3/40 = 7.5 %, and so is
    the disagreement: the round passes. If 5 of them have it, the disagreement is 12.5 %, and the round is refused.
    Raises ValueError if the numbers of problems differ.
    """
    pairs = list(zip(before, after, strict=True))
    samples = min((len(side.behaviours) for pair in pairs for side in pair), default=0)
    if len(pairs) < MIN_PROBLEMS:
        return GuardResult((), (f"{len(pairs)} problems are too few, at least {MIN_PROBLEMS} are needed",), {})
    if samples < MIN_SAMPLES:
        return GuardResult((), (f"{samples} answers per problem are too few, at least {MIN_SAMPLES} are needed",), {})
    refusals: list[str] = []
    figures: dict[str, float] = {}
    unjudged: list[str] = []
    _judge_fall(
        "behaviours per problem", MAX_FALL_OF_BEHAVIOURS,
        fmean(_count(one.behaviours) for one in before), fmean(_count(one.behaviours) for one in after),
        figures, refusals,
    )  # fmt: skip
    _judge_fall(
        "tokens per answer", MAX_FALL_OF_LENGTH,
        fmean(t for one in before for t in one.tokens), fmean(t for one in after for t in one.tokens),
        figures, refusals,
    )  # fmt: skip
    _judge_flips(pairs, figures, refusals, unjudged)
    _judge_disagreement(pairs, figures, refusals, unjudged)
    return GuardResult(tuple(refusals), tuple(unjudged), figures)


def top_behaviour(behaviours: Sequence[Behaviour]) -> Behaviour | None:
    """Return the behaviour of most answers that ran; None if none ran, if two lead equally, or if one answer leads.

    Examples: A, A, B -> A; A, A, B, B -> None; A, B -> None; A, A and three crashed ones -> A.
    """
    ranked = Counter(b for b in behaviours if not is_crashed(b)).most_common(2)
    if not ranked or ranked[0][1] < 2 or (len(ranked) > 1 and ranked[1][1] == ranked[0][1]):
        return None
    return ranked[0][0]


def _count(behaviours: Sequence[Behaviour]) -> int:
    return len({b for b in behaviours if not is_crashed(b)})


def _judge_fall(
    what: str, limit: float, before: float, after: float, figures: dict[str, float], refusals: list[str]
) -> None:
    fall = figures[f"fall of {what}"] = 1 - after / before if before else 0.0
    if fall > limit:
        refusals.append(f"{what} fell by {fall:.0%} ({before:.2f} to {after:.2f}), more than {limit:.0%}")


def _judge_flips(
    pairs: Sequence[tuple[Answers, Answers]], figures: dict[str, float], refusals: list[str], unjudged: list[str]
) -> None:
    """Compare the top behaviours; a problem counts if one behaviour led before, and flips if another leads after.

    A problem on which no behaviour leads after the round has not flipped.
    """
    tops = [(top_behaviour(before.behaviours), top_behaviour(after.behaviours)) for before, after in pairs]
    clear = [(before, after) for before, after in tops if before is not None]
    if len(clear) < MIN_PROBLEMS:
        unjudged.append(f"{len(clear)} problems have a clear top behaviour, at least {MIN_PROBLEMS} are needed")
        return
    rate = figures["flip rate"] = fmean(after not in (None, before) for before, after in clear)
    text = f"the top behaviour of {rate:.1%} of {len(clear)} problems changed"
    if rate < MIN_FLIP_RATE:
        refusals.append(f"{text}, less than {MIN_FLIP_RATE:.0%}: the adapter changed hardly anything")
    elif rate > MAX_FLIP_RATE:
        refusals.append(f"{text}, more than {MAX_FLIP_RATE:.0%}")


def _judge_disagreement(
    pairs: Sequence[tuple[Answers, Answers]], figures: dict[str, float], refusals: list[str], unjudged: list[str]
) -> None:
    sure = [(before.consensus, after.consensus) for before, after in pairs if _is_sure(before)]
    if len(sure) < MIN_SURE_PROBLEMS:
        unjudged.append(f"the model before was sure of {len(sure)} problems, at least {MIN_SURE_PROBLEMS} are needed")
        return
    rate = figures["disagreement"] = fmean(one != other for one, other in sure)
    if rate > MAX_DISAGREEMENT:
        refusals.append(
            f"the consensus changed on {rate:.1%} of {len(sure)} problems of which the model before was sure, "
            f"more than {MAX_DISAGREEMENT:.0%}"
        )


def _is_sure(answers: Answers) -> bool:
    votes = sum(b == answers.consensus for b in answers.behaviours)
    return answers.consensus is not None and votes > SURE_SHARE * len(answers.behaviours)
