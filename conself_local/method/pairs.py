"""Preference pairs: the programs of highest consensus against programs of lower consensus. Source: arXiv 2603.29292."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from conself_local.method.behaviour import Behaviour, is_constant, is_crashed

Rejected = Literal["lowest-first", "ran-first", "like-length"]


@dataclass(frozen=True)
class ScoredSample:
    id: str
    observation: int
    sample_index: int
    code: str
    compiled: bool
    behaviour: Behaviour
    consensus: float


@dataclass(frozen=True)
class Pair:
    chosen: ScoredSample
    rejected: ScoredSample
    weight: float
    """The consensus of the chosen."""


def build_pairs(
    samples: Sequence[ScoredSample],
    *,
    rejected: Rejected,
    max_pairs: int,
    distinct_code: bool = False,
    min_cluster_share: float = 0.0,
    allow_constant_chosen: bool = True,
) -> list[Pair]:
    """At most `max_pairs` pairs of one problem's samples; never equal code on both sides.

    Chosen: every sample of the highest consensus; each takes the compiled samples of lower consensus, lowest first
    (`ran-first`: those that ran on some input before those that failed on all, so that a pair teaches more than
    not to crash; `like-length`: of those that ran, and then of the others, the one nearest in length, and the chosen take
    turns, so that a pair does not teach to answer briefly).
    Ties go by (observation, index). `distinct_code`: samples of equal code are one candidate. `min_cluster_share`: none where fewer of the
    samples that ran behave as a chosen one does. Without `allow_constant_chosen`, what answers every input alike is never chosen.
    """
    if rejected not in get_args(Rejected):
        raise ValueError(f"rejected must be one of {', '.join(get_args(Rejected))}, not {rejected!r}")
    candidates = sorted(samples, key=lambda s: (s.observation, s.sample_index))
    if distinct_code:
        first = {s.code: s for s in reversed(candidates)}
        candidates = [s for s in candidates if first[s.code] is s]
    eligible = [s for s in candidates if allow_constant_chosen or not is_constant(s.behaviour)]
    highest = max((s.consensus for s in eligible), default=0.0)
    chosen = [s for s in eligible if s.consensus == highest and highest > 0 and _share(s, samples) >= min_cluster_share]
    losers = [s for s in candidates if s.consensus < highest and s.compiled]
    crashed_last = rejected != "lowest-first"
    losers.sort(key=lambda s: (crashed_last and is_crashed(s.behaviour), s.consensus, s.observation, s.sample_index))
    if rejected == "like-length":
        return _pairs_of_like_length(chosen, losers, max_pairs)
    pairs = [Pair(c, r, c.consensus) for c in chosen for r in losers if c.code != r.code]
    return pairs[:max_pairs]


def _share(one: ScoredSample, samples: Sequence[ScoredSample]) -> float:
    """Of the samples that ran, those that behave as `one`, itself included."""
    ran = [s.behaviour for s in samples if not is_crashed(s.behaviour)]
    return ran.count(one.behaviour) / len(ran)


def _pairs_of_like_length(chosen: Sequence[ScoredSample], losers: Sequence[ScoredSample], max_pairs: int) -> list[Pair]:
    left, pairs = list(losers), []
    for c in itertools.islice(itertools.cycle(chosen), max_pairs):
        fitting = [r for r in left if r.code != c.code]
        if fitting:
            nearest = min(fitting, key=lambda r: (is_crashed(r.behaviour), abs(len(r.code) - len(c.code))))
            left.remove(nearest)
            pairs.append(Pair(c, nearest, c.consensus))
    return pairs


def random_pairs(samples: Sequence[ScoredSample], *, max_pairs: int, seed: int) -> list[Pair]:
    """The control: at most `max_pairs` pairs of compiled samples with different code, drawn without regard to what they do."""
    compiled = {
        s.code: s for s in sorted(samples, key=lambda s: (s.observation, s.sample_index), reverse=True) if s.compiled
    }
    ordered = sorted(compiled.values(), key=lambda s: (s.observation, s.sample_index))
    choices = list(itertools.permutations(ordered, 2))
    drawn = random.Random(seed).sample(choices, min(max_pairs, len(choices)))
    return [Pair(chosen, rejected, chosen.consensus) for chosen, rejected in drawn]
