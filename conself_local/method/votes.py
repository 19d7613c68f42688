"""Count votes: how much each program's vote weighs, and by how much the chosen behaviour leads.

Programs that only return `None` usually print instead of returning a value, and constants guess; both agree with each
other without having solved anything. With the weights `informative` they hardly vote.
Not covered: the agreement itself (`consensus.py`) and who is chosen (`chosen.py`).
Source: the weights are an addition of this project; the margin is that of ScPO (arXiv 2411.04109).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

from conself_local.method.behaviour import Behaviour, is_constant, is_crashed

VoteWeights = Literal["equal", "informative"]
"""`equal`: every program has one vote (the paper); `informative`: `voter_weight` says how much a vote counts."""
CONSTANT_WEIGHT = Fraction(3, 10)
"""Weight of the vote of a program that answers at least three inputs, all of them alike."""
_NONE = "None"
"""Comparison key of the value None; an input on which a program failed has no key at all."""


def voter_weight(behaviour: Behaviour) -> Fraction:
    """Return the weight of a program's vote: 0, 3/10 or 1.

    0 if every output is the value `None`, or if there is no output; 3/10 if the program is a constant
    (`is_constant`); 1 otherwise. Inputs on which it failed do not count.
    Examples: `("None", "None")` -> 0; `("None", None)` -> 0; `("1", "1", "1")` -> 3/10; `("1", "1")` -> 1.
    """
    answered = {output for output in behaviour if output is not None}
    if answered <= {_NONE}:
        return Fraction(0)
    return CONSTANT_WEIGHT if is_constant(behaviour) else Fraction(1)


def voter_weights(behaviours: Sequence[Behaviour], vote_weights: VoteWeights) -> list[Fraction]:
    """Return the weight of each sample's vote, in the order of `behaviours`.

    `equal`: 1 each. `informative`: `voter_weight`, except if no sample weighs more than 0: then 1 each, because nothing
    is known that would be better than their agreement.
    Raises ValueError if `vote_weights` is neither of the two.
    """
    if vote_weights not in ("equal", "informative"):
        raise ValueError(f"vote weights must be equal or informative, not {vote_weights!r}")
    weights = [voter_weight(b) for b in behaviours] if vote_weights == "informative" else []
    return weights if any(weights) else [Fraction(1)] * len(behaviours)


def vote_margin(
    behaviours: Sequence[Behaviour], chosen: Behaviour, *, vote_weights: VoteWeights, sampled: int
) -> float:
    """Return (v1 - v2) / n, in [0, 1]: the lead of the chosen behaviour over the behaviour with the next most votes.

    v1 are the votes for `chosen`, v2 those for the strongest other behaviour, both weighted; n is `sampled`, the number
    of all samples, also of those that crashed or held no program. 0.0 if another behaviour has as many votes or more.
    Example: of 8 samples, 2 behave as the chosen one, 1 differs, 2 return only None, 1 is a constant, and 2 crashed;
    `informative` -> (2 - 1) / 8 = 0.125, `equal` -> 0.0.
    Source: ScPO (arXiv 2411.04109), with the strongest rival in the place of the rejected answer.
    """
    votes: defaultdict[Behaviour, Fraction] = defaultdict(Fraction)
    for behaviour, weight in zip(behaviours, voter_weights(behaviours, vote_weights), strict=True):
        if not is_crashed(behaviour):
            votes[behaviour] += weight
    rival = max((count for behaviour, count in votes.items() if behaviour != chosen), default=Fraction(0))
    return float(max(Fraction(0), votes[chosen] - rival) / sampled)
