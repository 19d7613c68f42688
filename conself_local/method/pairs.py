"""Build preference pairs: programs of the highest consensus against programs of lower consensus.

Not covered: which programs are chosen (`chosen.py`) and which problems (`curriculum.py`), and the prompt that a pair is
trained on.
Source: arXiv 2603.29292 for `lowest-first` with the default options; the other options are additions of this project.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from conself_local.method.behaviour import is_crashed
from conself_local.method.chosen import ChosenRules, ScoredSample, choose

Rejected = Literal["lowest-first", "ran-first", "like-length"]
"""The order in which samples are rejected; `build_pairs` describes each value."""
_PAPER = ChosenRules()


@dataclass(frozen=True)
class Pair:
    """A chosen and a rejected sample of one problem."""

    chosen: ScoredSample
    rejected: ScoredSample
    weight: float
    """Factor of the pair's preference term, in [0, 1]; here the consensus of the chosen."""


def build_pairs(
    samples: Sequence[ScoredSample],
    rules: ChosenRules = _PAPER,
    *,
    rejected: Rejected,
    max_pairs: int,
    distinct_code: bool = False,
    sampled: int | None = None,
) -> list[Pair]:
    """Return at most `max_pairs` pairs from the samples of one problem; a pair never has equal code on both sides.

    The samples of the highest consensus above 0 are chosen if the rules allow it (`choose`); the highest is that of
    the samples that may be chosen at all. A sample of lower consensus that compiled can be rejected.
    Ties are broken by (observation, sample_index); the order of `samples` does not matter.

    `rejected` decides which samples are rejected, and in which order:
    - `lowest-first`: each chosen sample in turn takes all of them, the lowest consensus first.
    - `ran-first`: the same, but samples that ran on some input come before samples that failed on every input, so that
      a pair teaches more than not to crash.
    - `like-length`: the chosen samples take turns; each takes the unused sample nearest in length (characters of code;
      of equal distances, the lower consensus first), from those that ran on some input as long as there are any, so
      that a pair does not teach to answer briefly.

    `distinct_code`: samples of equal code are one candidate, the first by (observation, sample_index).
    `sampled`: number of all samples of the problem, also of those without a program; None: that of `samples`.

    Example: the five samples a to e, `lowest-first`, at most 3 pairs -> (a, e), (a, d), (a, c), each of weight 0.875;
    `ran-first` -> (a, d), (a, c), (a, e).
    Raises ValueError if `rejected` is none of the three values.
    Source: arXiv 2603.29292 (`lowest-first`).
    """
    if rejected not in get_args(Rejected):
        raise ValueError(f"rejected must be one of {', '.join(get_args(Rejected))}, not {rejected!r}")
    candidates = pair_candidates(samples, distinct_code=distinct_code)
    chosen = choose(samples, candidates, rules, sampled=len(samples) if sampled is None else sampled)
    if not chosen:
        return []
    losers = [s for s in candidates if s.consensus < chosen[0].consensus and s.compiled]
    crashed_last = rejected != "lowest-first"
    losers.sort(key=lambda s: (crashed_last and is_crashed(s.behaviour), s.consensus, s.observation, s.sample_index))
    if rejected == "like-length":
        return _pairs_of_like_length(chosen, losers, max_pairs)
    pairs = [Pair(c, r, c.consensus) for c in chosen for r in losers if c.code != r.code]
    return pairs[:max_pairs]


def pair_candidates(samples: Sequence[ScoredSample], *, distinct_code: bool) -> list[ScoredSample]:
    """Return the samples that can be in a pair, by (observation, sample_index); `distinct_code` as in `build_pairs`."""
    candidates = sorted(samples, key=lambda s: (s.observation, s.sample_index))
    if not distinct_code:
        return candidates
    first = {s.code: s for s in reversed(candidates)}
    return [s for s in candidates if first[s.code] is s]


def _pairs_of_like_length(chosen: Sequence[ScoredSample], losers: Sequence[ScoredSample], max_pairs: int) -> list[Pair]:
    unused, pairs = list(losers), []
    for c in itertools.islice(itertools.cycle(chosen), max_pairs):
        fitting = [r for r in unused if r.code != c.code]
        if fitting:
            nearest = min(fitting, key=lambda r: (is_crashed(r.behaviour), abs(len(r.code) - len(c.code))))
            unused.remove(nearest)
            pairs.append(Pair(c, nearest, c.consensus))
    return pairs


def random_pairs(samples: Sequence[ScoredSample], *, max_pairs: int, seed: int) -> list[Pair]:
    """Return at most `max_pairs` pairs of compiled samples with different code, drawn without regard to behaviour.

    These pairs are a control, which ignores behaviour. Samples of equal code are one candidate. The same seed gives the
    same pairs. Fewer than two different programs that compiled -> []. The weight is the consensus of the chosen.
    """
    compiled = {
        s.code: s for s in sorted(samples, key=lambda s: (s.observation, s.sample_index), reverse=True) if s.compiled
    }
    ordered = sorted(compiled.values(), key=lambda s: (s.observation, s.sample_index))
    choices = list(itertools.permutations(ordered, 2))
    drawn = random.Random(seed).sample(choices, min(max_pairs, len(choices)))
    return [Pair(chosen, rejected, chosen.consensus) for chosen, rejected in drawn]
