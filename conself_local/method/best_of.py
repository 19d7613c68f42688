"""Decide from the behaviours of sampled programs which one answers a question, and how sure that is.

Programs are scored as the votes of a round are (`vote_scores` is the one place for that). A program that returns
nothing but None neither votes nor wins; a constant one votes, and wins only if all voters are constant.
Not covered: sampling and running the programs (`serving/best_of.py`), and the inputs (`serving/question.py`).
Sources: arXiv 2603.29292 (consensus per input); arXiv 2305.11860 (when to stop sampling).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction

from conself_local.method.behaviour import Behaviour, is_constant, is_crashed
from conself_local.method.consensus import consensus
from conself_local.method.votes import voter_weight

SURE = 0.95
"""Sampling stops if the winner's behaviour is the most likely one with at least this posterior probability."""
MIN_SHARE = Fraction(1, 3)
"""If a smaller share of all samples agrees with it, the winner is doubtful."""
MIN_ANSWERED_SHARE = 0.5
"""An input that fewer of the programs answer is probably not a valid one, and does not count."""


@dataclass(frozen=True)
class Candidate:
    """One sampled program, as far as the decision needs it."""

    behaviour: Behaviour
    mean_nll: float | None
    """Mean negative log-likelihood in nats per token, which breaks ties; None if it is not known."""
    length: int
    """Characters of its code; of equal candidates, the shorter one wins."""


@dataclass(frozen=True)
class Tally:
    """The state of the vote. Numbers of samples are their places in the list that was counted."""

    winner: int | None
    """None if no sample votes."""
    agree: tuple[int, ...]
    """The samples that behave as the winner, itself included."""
    rival: int | None
    """The best sample of the largest other group; None if all voters behave alike."""
    rival_agree: tuple[int, ...]
    sampled: int
    """All samples, including those without a program and those that do not vote."""
    certainty: float
    """Posterior probability that the winner's behaviour is the most likely one, in [0, 1]."""

    @property
    def is_doubtful(self) -> bool:
        """Whether fewer than a third of all samples agree with the winner."""
        return len(self.agree) < MIN_SHARE * self.sampled

    @property
    def is_sure(self) -> bool:
        """Whether further samples would hardly change the winner."""
        return self.certainty > SURE and not self.is_doubtful


def votes(behaviour: Behaviour) -> bool:
    """Return whether a program has a vote: it answered some input with more than None.

    `("None", None)` -> False; `("None", "2")` -> True.
    """
    return voter_weight(behaviour) > 0


def vote_scores(behaviours: Sequence[Behaviour]) -> list[float]:
    """Return the score of each sample, in [0, 1]: its consensus with the voters; 0.0 if it has no vote.

    Example: `[("1", "2"), ("1", "3"), ("None", "None")]` -> `[0.75, 0.75, 0.0]`.
    """
    return consensus([b if votes(b) else (None,) * len(b) for b in behaviours])


def useful_inputs(behaviours: Sequence[Behaviour], always: Collection[int] = ()) -> list[int]:
    """Return the places of the inputs that count: those that enough of the programs that ran answer, and `always`."""
    ran = [b for b in behaviours if not is_crashed(b)]
    if not ran:
        return []
    return [
        j for j in range(len(ran[0]))
        if j in always or sum(b[j] is not None for b in ran) >= MIN_ANSWERED_SHARE * len(ran)
    ]  # fmt: skip


def tally(candidates: Sequence[Candidate], sampled: int, favourite: Behaviour | None = None) -> Tally:
    """Count the votes of the candidates; `sampled` is the number of all samples, at least that of the candidates.

    Ties are broken by the size of the group, then by agreement with `favourite` (the behaviour of an answer that is
    already shown), then by likelihood, length and order.
    """
    behaviours = [one.behaviour for one in candidates]
    scores = vote_scores(behaviours)
    voters = [k for k, behaviour in enumerate(behaviours) if votes(behaviour)]
    sizes = Counter(behaviours[k] for k in voters)
    can_win = [k for k in voters if not is_constant(behaviours[k])] or voters
    if not can_win:
        return Tally(None, (), None, (), sampled, 0.0)

    def rank(k: int) -> tuple[float, ...]:
        one = candidates[k]
        nll = math.inf if one.mean_nll is None else one.mean_nll
        return (-scores[k], -sizes[one.behaviour], one.behaviour != favourite, nll, one.length, k)

    winner = min(can_win, key=rank)
    others = [k for k in voters if behaviours[k] != behaviours[winner]]
    rival = min(others, key=lambda k: (k not in can_win, -sizes[behaviours[k]], *rank(k)), default=None)
    counts = [sizes[behaviours[winner]], *(size for b, size in sizes.items() if b != behaviours[winner])]
    return Tally(
        winner,
        _group(behaviours, voters, winner),
        rival,
        () if rival is None else _group(behaviours, voters, rival),
        sampled,
        mode_probability(counts),
    )


def _group(behaviours: Sequence[Behaviour], voters: Sequence[int], one: int) -> tuple[int, ...]:
    return tuple(k for k in voters if behaviours[k] == behaviours[one])


def mode_probability(counts: Sequence[int]) -> float:
    """Return the posterior probability that the first behaviour is the most likely one of the model.

    counts: votes per behaviour. The prior is Dirichlet(1) over these behaviours and one more that stands for all that
    were not seen yet. With X_i ~ Gamma(counts_i + 1) the value is P(X_0 > all others), computed in exact fractions:
    the product of the others' distribution functions 1 - e^-x S_i(x) is expanded in powers of e^-x.
    Examples: [4] -> 31/32 = 0.96875; [3] -> 0.9375; [1] -> 0.75; [2, 2] -> below 0.5; [] -> 0.0.
    Source: arXiv 2305.11860, the Dirichlet criterion.
    """
    if not counts:
        return 0.0
    shape = counts[0] + 1
    expanded: list[list[Fraction]] = [[Fraction(1)]]  # the polynomial in x that belongs to each power of e^-x
    for count in (*counts[1:], 0):
        series = [Fraction(1, math.factorial(k)) for k in range(count + 1)]
        shifted = [[Fraction(0)], *(_product(one, series) for one in expanded)]
        expanded = [_difference(one, other) for one, other in zip([*expanded, [Fraction(0)]], shifted, strict=True)]
    total = sum(
        coefficient * Fraction(math.factorial(shape - 1 + k), math.factorial(shape - 1) * (power + 1) ** (shape + k))
        for power, polynomial in enumerate(expanded)
        for k, coefficient in enumerate(polynomial)
    )
    return float(total)


def _product(left: Sequence[Fraction], right: Sequence[Fraction]) -> list[Fraction]:
    found = [Fraction(0)] * (len(left) + len(right) - 1)
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            found[i + j] += a * b
    return found


def _difference(left: Sequence[Fraction], right: Sequence[Fraction]) -> list[Fraction]:
    length = max(len(left), len(right))
    padded = [[*one, *[Fraction(0)] * (length - len(one))] for one in (left, right)]
    return [a - b for a, b in zip(*padded, strict=True)]


def deciding_input(one: Behaviour, other: Behaviour, lengths: Sequence[int]) -> int | None:
    """Return the place of the input that distinguishes two behaviours best; None if they are equal.

    It is one that both answer, if there is any, and of those the shortest; `lengths` has one length per input.
    """
    differing = [j for j, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
    return min(differing, key=lambda j: (one[j] is None or other[j] is None, lengths[j], j), default=None)
