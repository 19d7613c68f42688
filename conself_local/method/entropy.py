"""Group samples into clusters of equal behaviour, and compute the code semantic entropy over them, in bits.

Not covered: token-level uncertainty, and the normalisation of the entropy (`curriculum.py`).
Source: arXiv 2603.29292.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from conself_local.method.behaviour import Behaviour, is_crashed


def clusters(behaviours: Sequence[Behaviour]) -> list[int | None]:
    """Return the cluster number of every sample, in the order of `behaviours`; None for a crashed sample.

    Clusters are numbered by size: 0 is the largest; of clusters of equal size, the one seen first has the lower number.
    Example: the five samples a to e -> `[0, 0, 1, 2, None]`.
    """
    valid = [b for b in behaviours if not is_crashed(b)]
    first_seen = {b: i for i, b in reversed(list(enumerate(valid)))}
    ranked = sorted(Counter(valid).items(), key=lambda item: (-item[1], first_seen[item[0]]))
    numbers = {behaviour: number for number, (behaviour, _) in enumerate(ranked)}
    return [None if is_crashed(b) else numbers[b] for b in behaviours]


def semantic_entropy_bits(behaviours: Sequence[Behaviour]) -> float | None:
    """Return H = - sum over clusters of p log2 p, with p = cluster size / number of valid samples, in bits.

    A sample is valid if it did not crash on every input. H is in [0, log2(number of valid samples)]; it does not depend
    on the order of the samples. One cluster -> 0.0; no valid sample -> None, because H is undefined then.
    Example: the five samples a to e form clusters of 2, 1 and 1 valid samples -> 1.5 bits.
    Source: arXiv 2603.29292.
    """
    valid = [b for b in behaviours if not is_crashed(b)]
    if not valid:
        return None
    sizes = sorted(Counter(valid).values())
    # abs turns the -0.0 of a single cluster into 0.0
    return abs(-math.fsum(n / len(valid) * math.log2(n / len(valid)) for n in sizes))
