"""Behavioural consensus: how far a program agrees with the others, input by input. Source: arXiv 2603.29292."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

from conself_local.method.behaviour import Behaviour


def consensus(behaviours: Sequence[Behaviour]) -> list[float]:
    """One number in [0, 1] a sample: the mean over inputs of (samples with my output) / (samples with any output).

    0 on an input where the sample failed. Computed in exact fractions, so equal consensus is equal, and `highest`
    has no float accidents. `[("1",), ("1",), ("2",)]` -> `[2/3, 2/3, 1/3]`.
    Raises ValueError when the behaviours have different lengths.
    """
    if not behaviours:
        return []
    n_inputs = len(behaviours[0])
    if any(len(b) != n_inputs for b in behaviours):
        raise ValueError("behaviours must all have one output an input")
    totals = [Fraction(0)] * len(behaviours)
    for j in range(n_inputs):
        outputs = [b[j] for b in behaviours]
        counts = Counter(output for output in outputs if output is not None)
        given = sum(counts.values())
        for k, output in enumerate(outputs):
            if output is not None:
                totals[k] += Fraction(counts[output], given)
    return [float(total / n_inputs) if n_inputs else 0.0 for total in totals]
