"""Compute the behavioural consensus: how far each sample agrees with the other samples, input by input.

It is agreement per input, not the share of a cluster: two programs that differ on one input still agree on the others.
Not covered: clusters (`entropy.py`), the weights of votes (`votes.py`) and the choice of pairs (`pairs.py`).
Source: arXiv 2603.29292.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction

from conself_local.method.behaviour import Behaviour


def consensus(behaviours: Sequence[Behaviour], weights: Sequence[Fraction] | None = None) -> list[float]:
    """Return one consensus per sample, in the order of `behaviours`, each in [0, 1].

    The consensus of sample k is the mean over the inputs j of
    (votes of the samples whose output on j equals that of k) / (votes of the samples with any output on j);
    an input on which k failed, or on which nobody's vote counts, contributes 0. The sample itself is counted.
    `weights` holds the weight of each sample's vote, at least 0; None: every sample has one vote, as in the paper.
    The mean is computed in exact fractions and converted to a float at the end, so that samples of equal consensus
    have equal floats and the highest consensus is well defined.
    No samples -> []; no inputs -> 0.0 for every sample.
    Example: `[("1", "2"), ("1", "2"), ("1", "3"), (None, "2"), (None, None)]` -> `[0.875, 0.875, 0.625, 0.375, 0.0]`;
    the third is (3/3 + 1/4) / 2.
    Example with weights: `[("1", "2", "3"), ("1", "2", "3"), ("1", "2", "4"), ("None",) * 3, ("0",) * 3]` with the
    weights 1, 1, 1, 0 and 3/10 -> 8/9.9, 8/9.9, 7/9.9, 0 and 0.9/9.9.
    Raises ValueError if the behaviours have different lengths, or if there is not one weight per behaviour.
    Source: arXiv 2603.29292; the weights are an addition of this project.
    """
    if not behaviours:
        return []
    n_inputs = len(behaviours[0])
    if any(len(b) != n_inputs for b in behaviours):
        raise ValueError("all behaviours must have the same number of outputs")
    votes = [Fraction(1)] * len(behaviours) if weights is None else weights
    totals = [Fraction(0)] * len(behaviours)
    for j in range(n_inputs):
        counts: defaultdict[str, Fraction] = defaultdict(Fraction)
        for behaviour, vote in zip(behaviours, votes, strict=True):
            if (output := behaviour[j]) is not None:
                counts[output] += vote
        answered = sum(counts.values())
        for k, behaviour in enumerate(behaviours):
            if (output := behaviour[j]) is not None and answered:
                totals[k] += counts[output] / answered
    return [float(total / n_inputs) if n_inputs else 0.0 for total in totals]
