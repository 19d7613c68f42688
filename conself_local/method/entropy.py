"""Clusters of equal behaviour, and code semantic entropy over them, in bits."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from conself_local.method.behaviour import Behaviour, is_crashed


def clusters(behaviours: Sequence[Behaviour]) -> list[int | None]:
    """The cluster of every sample: 0 is the largest (ties: first seen first), None for a crashed sample."""
    valid = [b for b in behaviours if not is_crashed(b)]
    first_seen = {b: i for i, b in reversed(list(enumerate(valid)))}
    ranked = sorted(Counter(valid).items(), key=lambda item: (-item[1], first_seen[item[0]]))
    numbers = {behaviour: number for number, (behaviour, _) in enumerate(ranked)}
    return [None if is_crashed(b) else numbers[b] for b in behaviours]


def semantic_entropy_bits(behaviours: Sequence[Behaviour]) -> float | None:
    """H = - sum p log2 p over clusters, p = cluster size / valid samples; None without a valid sample, never 0.

    One cluster -> 0.0; at most log2(valid). Sizes 2, 1, 1 -> 1.5. Source: arXiv 2603.29292.
    """
    valid = [b for b in behaviours if not is_crashed(b)]
    if not valid:
        return None
    sizes = sorted(Counter(valid).values())
    return abs(-math.fsum(n / len(valid) * math.log2(n / len(valid)) for n in sizes))
