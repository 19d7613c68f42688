"""Which problems are worth learning from: not crashed, not agreed upon, not hopeless. Source: arXiv 2603.29292."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

EntropyNormalisation = Literal["min-max", "log2"]


@dataclass(frozen=True)
class ProblemScore:
    crash_rate: float
    entropy_bits: float | None
    valid: int
    """Samples that are in a cluster."""


def is_informative(score: ProblemScore, max_crash_rate: float) -> bool:
    """0 < H and crash rate below the limit: there is something to prefer."""
    return score.crash_rate < max_crash_rate and score.entropy_bits is not None and score.entropy_bits > 0


def normalise_entropy(
    problems: Mapping[str, ProblemScore], *, entropy_normalisation: EntropyNormalisation, max_crash_rate: float
) -> dict[str, float]:
    """H_norm of every informative problem, in [0, 1].

    `min-max` over the informative problems of this run (all equal -> 0.0); `log2`: H / log2(valid samples).
    H = 1.5 with 4 valid samples by log2 -> 0.75.
    """
    kept = {id: s for id, s in problems.items() if is_informative(s, max_crash_rate)}
    bits = {id: s.entropy_bits for id, s in kept.items() if s.entropy_bits is not None}
    if entropy_normalisation == "log2":
        return {id: h / math.log2(kept[id].valid) for id, h in bits.items()}
    if entropy_normalisation != "min-max":
        raise ValueError(f"entropy normalisation must be min-max or log2, not {entropy_normalisation!r}")
    low, high = min(bits.values(), default=0.0), max(bits.values(), default=0.0)
    return {id: (h - low) / (high - low) if high > low else 0.0 for id, h in bits.items()}


def select_learnable(
    problems: Mapping[str, ProblemScore],
    *,
    entropy_normalisation: EntropyNormalisation,
    entropy_threshold: float,
    max_crash_rate: float,
) -> list[str]:
    """The ids, in the order given, of the informative problems whose H_norm is below `threshold`."""
    normalised = normalise_entropy(problems, entropy_normalisation=entropy_normalisation, max_crash_rate=max_crash_rate)
    return [id for id in problems if id in normalised and normalised[id] < entropy_threshold]
