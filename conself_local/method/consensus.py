"""Compute the behavioural consensus: how far each sample agrees with the other samples, input by input.

It is agreement per input, not the share of a cluster: two programs that differ on one input still agree on the others.
Not covered: clusters (`entropy.py`) and the choice of pairs (`pairs.py`).
Source: arXiv 2603.29292.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

from conself_local.method.behaviour import Behaviour


def consensus(behaviours: Sequence[Behaviour]) -> list[float]:
    """Return one consensus per sample, in the order of `behaviours`, each in [0, 1].

    The consensus of sample k is the mean over the inputs j of
    (number of samples whose output on j equals that of k) / (number of samples with any output on j);
    an input on which k failed contributes 0. The sample itself is counted.
    The mean is computed in exact fractions and converted to a float at the end, so that samples of equal consensus
    have equal floats and the highest consensus is well defined.
    No samples -> []; no inputs -> 0.0 for every sample.
    Example: `[("1", "2"), ("1", "2"), ("1", "3"), (None, "2"), (None, None)]` -> `[0.875, 0.875, 0.625, 0.375, 0.0]`;
    the third is (3/3 + 1/4) / 2.
    Raises ValueError if the behaviours have different lengths.
    Source: arXiv 2603.29292.
    """
    if not behaviours:
        return []
    n_inputs = len(behaviours[0])
    if any(len(b) != n_inputs for b in behaviours):
        raise ValueError("all behaviours must have the same number of outputs")
    totals = [Fraction(0)] * len(behaviours)
    for j in range(n_inputs):
        outputs = [b[j] for b in behaviours]
        counts = Counter(output for output in outputs if output is not None)
        answered = sum(counts.values())
        for k, output in enumerate(outputs):
            if output is not None:
                totals[k] += Fraction(counts[output], answered)
    return [float(total / n_inputs) if n_inputs else 0.0 for total in totals]
