"""Decide without labels whether a round lost variety: the answers of the adapter against those of the model before it.

A model that trains on its own programs repeats itself before it gets worse: its programs do fewer different things and
become shorter, or it changes its mind about what it was sure of. Such a round is refused, and so is one that changed
hardly anything. Behaviours are compared with behaviours, so no right answer is needed.
Five samples of one model and five more of the same model differ too, so a sign beyond its limit refuses the round only
if chance does not explain it: if the answers of each problem are shuffled between the two sides, at most 5 % of 200
shuffles go as far. With few problems the guard says that it cannot judge and refuses nothing.
Not covered: which samples are compared (`stages/guard.py`), and whether the answers are right (`evaluation/`).
Source: the signs and limits are this project's. On one small model they pass adapters that kept the share of problems
which one of 20 tries solves, and refuse those that lowered it (`tests/benchmarks/README.md`); the shuffles are a
permutation test.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from conself_local.method.behaviour import Behaviour, is_crashed

MAX_FALL_OF_BEHAVIOURS = 0.20
"""Largest fall of the mean number of different behaviours per problem, as a share of that before."""
MAX_FALL_OF_LENGTH = 0.30
"""Largest fall of the mean length of an answer in tokens, as a share of that before."""
MIN_FLIP_RATE = 0.05
MAX_FLIP_RATE = 0.30
"""Least and largest share of problems whose top behaviour changes, among those with a clear top behaviour before."""
MAX_DISAGREEMENT = 0.10
"""Largest share of problems on which the consensus changes, among those of which the model before was sure."""
SURE_SHARE = 0.6
"""The model before is sure of a problem if more than this share of its answers behaves alike."""
MIN_SAMPLES = 5
"""Least number of sampled answers per problem and side."""
MIN_PROBLEMS = 30
"""Least number of problems, and of problems with a clear top behaviour."""
MIN_SURE_PROBLEMS = 20
"""Least number of problems of which the model before is sure, for the disagreement to count."""
MAX_CHANCE = 0.05
"""A sign refuses the round if at most this share of the shuffles is as far beyond its limit."""
_SHUFFLES = 200


@dataclass(frozen=True)
class Answers:
    """The sampled answers of one side to one problem."""

    behaviours: Sequence[Behaviour]
    """One per answer; a crashed one for an answer without a program, and for one that is not counted."""
    tokens: Sequence[int]
    """Length of each answer in tokens."""


Sides = tuple[Answers, Answers]
"""The answers to one problem before the round and after it."""


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

    Refused is a fall of the behaviours per problem by more than 20 % or of the answers' length by more than 30 %, a
    flip rate below 5 % or above 30 %, and a disagreement on more than 10 % of the problems of which the model before
    was sure.
    Worked numbers: 40 problems with the behaviours (A, A, A, A, B) before. If 3 of them have (B, B, B, B, B) after and
    the others are unchanged, the behaviours fall from 2 to 77/40, by 3.75 %, the flip rate is 3/40 = 7.5 %, and so is
    the disagreement: the round passes. If 5 of them have it, the disagreement is 12.5 %; shuffles give (A, A, A, A, B)
    against (B, B, B, B, B) next to never, so the round is refused.
    Raises ValueError if the numbers of problems differ.
    """
    sides = list(zip(before, after, strict=True))
    samples = min((len(side.behaviours) for pair in sides for side in pair), default=0)
    if len(sides) < MIN_PROBLEMS:
        return GuardResult((), (f"{len(sides)} problems are too few, at least {MIN_PROBLEMS} are needed",), {})
    if samples < MIN_SAMPLES:
        return GuardResult((), (f"{samples} answers per problem are too few, at least {MIN_SAMPLES} are needed",), {})
    all_figures, clear, sure = _figures(sides)
    figures, unjudged = _judged(all_figures, clear, sure)
    limits = {
        "fall of behaviours": MAX_FALL_OF_BEHAVIOURS,
        "fall of length": MAX_FALL_OF_LENGTH,
        "flip rate": MAX_FLIP_RATE,
        "disagreement": MAX_DISAGREEMENT,
    }
    beyond = {name: limit for name, limit in limits.items() if figures.get(name, 0.0) > limit}
    explained = _explained_by_chance(sides, figures, list(beyond)) if beyond else set()
    refusals = [
        f"{_phrase(name, figures[name], clear, sure)}, more than {limit:.0%}"
        for name, limit in beyond.items()
        if name not in explained
    ]
    if figures.get("flip rate", 1.0) < MIN_FLIP_RATE:
        phrase = _phrase("flip rate", figures["flip rate"], clear, sure)
        refusals.append(f"{phrase}, less than {MIN_FLIP_RATE:.0%}: the adapter changed hardly anything")
    return GuardResult(tuple(refusals), tuple(unjudged), figures)


def top_behaviour(behaviours: Sequence[Behaviour]) -> Behaviour | None:
    """Return the behaviour of most answers that ran; None if none ran, if two lead equally, or if one answer leads.

    Examples: A, A, B -> A; A, A, B, B -> None; A, B -> None; A, A and three crashed ones -> A.
    """
    ranked = Counter(b for b in behaviours if not is_crashed(b)).most_common(2)
    if not ranked or ranked[0][1] < 2 or (len(ranked) > 1 and ranked[1][1] == ranked[0][1]):
        return None
    return ranked[0][0]


def _figures(sides: Sequence[Sides]) -> tuple[dict[str, float], int, int]:
    """Return (the figures, number of problems with a clear top behaviour before, number of sure ones).

    A problem flips, or its consensus changes, if another behaviour clearly leads after the round; if none leads, it has
    not. The top behaviour of a problem of which the model is sure is its consensus, since most programs agree with it.
    """
    counts = [[len({b for b in one.behaviours if not is_crashed(b)}) for one in pair] for pair in sides]
    lengths = [[fmean(one.tokens) for one in pair] for pair in sides]
    clear = flips = sure = changed = 0
    for before, after in sides:
        top = top_behaviour(before.behaviours)
        if top is None:
            continue
        has_flipped = top_behaviour(after.behaviours) not in (None, top)
        is_sure = before.behaviours.count(top) > SURE_SHARE * len(before.behaviours)
        clear, flips = clear + 1, flips + has_flipped
        sure, changed = sure + is_sure, changed + (is_sure and has_flipped)
    figures = {
        "fall of behaviours": _fall(counts),
        "fall of length": _fall(lengths),
        "flip rate": flips / clear if clear else 0.0,
        "disagreement": changed / sure if sure else 0.0,
    }
    return figures, clear, sure


def _fall(values: Sequence[Sequence[float]]) -> float:
    before, after = (fmean(column) for column in zip(*values, strict=True))
    return 1 - after / before if before else 0.0


def _judged(figures: dict[str, float], clear: int, sure: int) -> tuple[dict[str, float], list[str]]:
    """Return the figures that enough problems show, and what is not judged."""
    figures, unjudged = dict(figures), []
    if clear < MIN_PROBLEMS:
        del figures["flip rate"]
        unjudged.append(f"{clear} problems have a clear top behaviour, at least {MIN_PROBLEMS} are needed")
    if sure < MIN_SURE_PROBLEMS:
        del figures["disagreement"]
        unjudged.append(f"the model before was sure of {sure} problems, at least {MIN_SURE_PROBLEMS} are needed")
    return figures, unjudged


def _explained_by_chance(sides: Sequence[Sides], figures: dict[str, float], names: Sequence[str]) -> set[str]:
    """Return the signs that more than 5 % of the shuffles show as far."""
    as_far: Counter[str] = Counter()
    for shuffled in _shuffles(sides):
        found = _figures(shuffled)[0]
        as_far.update(name for name in names if found[name] >= figures[name])
    return {name for name in names if as_far[name] > MAX_CHANCE * _SHUFFLES}


def _shuffles(sides: Sequence[Sides]) -> Iterator[list[Sides]]:
    """Yield the problems with their answers shuffled between both sides; the same answers give the same shuffles."""
    generator = random.Random(0)
    for _ in range(_SHUFFLES):
        yield [_shuffle(generator, before, after) for before, after in sides]


def _shuffle(generator: random.Random, before: Answers, after: Answers) -> Sides:
    cards = [card for one in (before, after) for card in zip(one.behaviours, one.tokens, strict=True)]
    generator.shuffle(cards)
    behaviours, tokens = [b for b, _ in cards], [n for _, n in cards]
    split = len(before.tokens)
    return Answers(behaviours[:split], tokens[:split]), Answers(behaviours[split:], tokens[split:])


def _phrase(name: str, value: float, clear: int, sure: int) -> str:
    return {
        "fall of behaviours": f"behaviours per problem fell by {value:.1%}",
        "fall of length": f"tokens per answer fell by {value:.1%}",
        "flip rate": f"the top behaviour of {value:.1%} of {clear} problems changed",
        "disagreement": f"the consensus changed on {value:.1%} of {sure} problems of which the model before was sure",
    }[name]
