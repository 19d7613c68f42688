"""Select the problems that are worth learning from.

A problem is dropped if most samples crash, if all valid samples behave alike (there is nothing to prefer), or if the
samples disagree too much for their consensus to be trusted.
Not covered: crash rate and entropy themselves (`behaviour.py`, `entropy.py`), and the cluster share that `laptop`
asks of a chosen program instead of the entropy threshold (`pairs.py`).
Source: arXiv 2603.29292.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

EntropyNormalisation = Literal["min-max", "log2"]
"""How H becomes H_norm in [0, 1]: relative to the other problems of the run, or to log2 of the valid samples."""


@dataclass(frozen=True)
class ProblemScore:
    """The values of one problem that decide whether it is selected."""

    crash_rate: float
    """Share of samples that failed on every input, in [0, 1]."""
    entropy_bits: float | None
    """Code semantic entropy H in bits; None if no sample is valid."""
    valid: int
    """Number of samples that are in a cluster."""


def is_informative(score: ProblemScore, max_crash_rate: float) -> bool:
    """Return whether H > 0 and the crash rate is below `max_crash_rate`: there is something to prefer.

    A crash rate equal to the limit is too high; a problem without a valid sample (H is None) is not informative.
    """
    return score.crash_rate < max_crash_rate and score.entropy_bits is not None and score.entropy_bits > 0


def normalise_entropy(
    problems: Mapping[str, ProblemScore], *, entropy_normalisation: EntropyNormalisation, max_crash_rate: float
) -> dict[str, float]:
    """Return H_norm of every informative problem by its id, each in [0, 1]; other problems have no entry.

    `min-max`: (H - min H) / (max H - min H) over the informative problems of this run, 0.0 for all if they are equal.
    The easiest problem always becomes 0, so the result depends on the other problems in the run.
    `log2`: H / log2(number of valid samples), which needs no other problem.
    Examples: H = 0.4, 1.5 and 3.4 by min-max -> 0, 1.1 / 3.0 and 1; H = 1.5 with 4 valid samples by log2 -> 0.75.
    Raises ValueError if `entropy_normalisation` is neither of the two.
    Source: arXiv 2603.29292 for `min-max`; `log2` is an addition of this project.
    """
    informative = {id: s for id, s in problems.items() if is_informative(s, max_crash_rate)}
    bits = {id: s.entropy_bits for id, s in informative.items() if s.entropy_bits is not None}
    if entropy_normalisation == "log2":
        return {id: h / math.log2(informative[id].valid) for id, h in bits.items()}
    if entropy_normalisation != "min-max":
        raise ValueError(f"entropy normalisation must be min-max or log2, not {entropy_normalisation!r}")
    low, high = min(bits.values(), default=0.0), max(bits.values(), default=0.0)
    return {id: (h - low) / (high - low) if high > low else 0.0 for id, h in bits.items()}


def select_learnable(
    problems: Mapping[str, ProblemScore],
    *,
    entropy_normalisation: EntropyNormalisation,
    entropy_threshold: float | None,
    max_crash_rate: float,
) -> list[str]:
    """Return the ids of the informative problems whose H_norm is below `entropy_threshold`, in the order given.

    H_norm equal to the threshold is too high; None selects every informative problem.
    Example: informative problems with H = 0.4, 1.5 and 3.4 by min-max, threshold 0.3 -> only the first.
    Raises ValueError if `entropy_normalisation` is unknown.
    Source: arXiv 2603.29292.
    """
    normalised = normalise_entropy(problems, entropy_normalisation=entropy_normalisation, max_crash_rate=max_crash_rate)
    limit = math.inf if entropy_threshold is None else entropy_threshold
    return [id for id in problems if id in normalised and normalised[id] < limit]
