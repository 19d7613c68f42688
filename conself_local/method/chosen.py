"""Choose the programs of a problem that are preferred in its pairs: those of the highest consensus, if votes back them.

Not covered: the consensus itself (`consensus.py`), and what the chosen programs are paired with (`pairs.py`).
Source: arXiv 2603.29292 with the default rules; the other rules are additions of this project.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from conself_local.method.behaviour import Behaviour, is_constant, is_crashed
from conself_local.method.syntax_tree import syntax_tree_key
from conself_local.method.votes import VoteWeights, vote_margin, voter_weight


@dataclass(frozen=True)
class ScoredSample:
    """One sample of a problem with its program, behaviour and consensus."""

    id: str
    observation: int
    """Index of the observation that the sample was drawn with."""
    sample_index: int
    """Index of the sample within its observation."""
    code: str
    compiled: bool
    behaviour: Behaviour
    consensus: float
    """Mean agreement per input with the samples of the same problem, in [0, 1]."""
    mean_logp: float | None = None
    """Log-probability under the plain prompt in nats, mean over the completion's tokens; None if it is not known."""


@dataclass(frozen=True)
class ChosenRules:
    """What a program must fulfil to be chosen; the defaults are those of the paper."""

    vote_weights: VoteWeights = "equal"
    """Whose votes count how much (`votes.py`); it also decides what `allow_constant` excludes."""
    allow_constant: bool = True
    """Whether a program with the same output for every input may be chosen.

    If not: with `equal` votes, none that `is_constant` is ever chosen; with `informative` ones, none whose vote weighs
    less than 1 is, unless that holds for every program that ran.
    """
    min_cluster_share: float = 0.0
    """Least share of the samples that ran on some input that behave as the chosen one, itself included."""
    max_cluster_share: float | None = None
    """That share must be below this: if nearly all agree, there is nothing to learn. None: no limit."""
    min_vote_share: float = 0.0
    """Least share of all samples, also of those that crashed or held no program, that behave as the chosen one."""
    min_vote_margin: float = 0.0
    """Least lead of the chosen behaviour over the next one, as a share of all samples (`vote_margin`)."""
    max_programs: int | None = None
    """Most programs, each of another syntax tree (`syntax_tree.py`), the likeliest first; None: all, in their order."""


def choose(
    samples: Sequence[ScoredSample], candidates: Sequence[ScoredSample], rules: ChosenRules, *, sampled: int
) -> list[ScoredSample]:
    """Return the chosen samples: those of the highest consensus above 0 among the candidates that may be chosen.

    `samples` are the counted samples of the problem, `candidates` those that can be in a pair, by (observation,
    sample_index); `sampled` is the number of all samples. The result is empty if the rules forbid all of the highest.
    Example: of the five samples a to e (`__init__.py`), a and b are chosen; `min_vote_share` 0.4 still allows them,
    since 2 of 5 samples behave alike, and 0.41 does not.
    """
    eligible = _eligible(candidates, rules)
    highest = max((s.consensus for s in eligible), default=0.0)
    chosen = [s for s in eligible if s.consensus == highest > 0 and _is_backed(s, samples, rules, sampled)]
    return chosen if rules.max_programs is None else _likeliest(chosen)[: rules.max_programs]


def _eligible(candidates: Sequence[ScoredSample], rules: ChosenRules) -> Sequence[ScoredSample]:
    if rules.allow_constant:
        return candidates
    if rules.vote_weights == "equal":
        return [s for s in candidates if not is_constant(s.behaviour)]
    return [s for s in candidates if voter_weight(s.behaviour) == 1] or candidates


def _is_backed(sample: ScoredSample, samples: Sequence[ScoredSample], rules: ChosenRules, sampled: int) -> bool:
    """Return whether enough samples, and not too many, behave as `sample` does."""
    ran = [s.behaviour for s in samples if not is_crashed(s.behaviour)]
    votes = ran.count(sample.behaviour)
    share = votes / len(ran)
    return (
        share >= rules.min_cluster_share
        and votes / sampled >= rules.min_vote_share
        and (rules.max_cluster_share is None or share < rules.max_cluster_share)
        and (not rules.min_vote_margin or _margin(sample, samples, rules, sampled) >= rules.min_vote_margin)
    )


def _margin(sample: ScoredSample, samples: Sequence[ScoredSample], rules: ChosenRules, sampled: int) -> float:
    behaviours = [s.behaviour for s in samples]
    return vote_margin(behaviours, sample.behaviour, vote_weights=rules.vote_weights, sampled=sampled)


def _likeliest(chosen: Sequence[ScoredSample]) -> list[ScoredSample]:
    """Return the likeliest sample of each syntax tree, the likeliest first; those of unknown likelihood come last."""
    ranked = sorted(chosen, key=lambda s: -s.mean_logp if s.mean_logp is not None else float("inf"))
    trees: dict[str, ScoredSample] = {}
    for sample in ranked:
        trees.setdefault(syntax_tree_key(sample.code), sample)
    return list(trees.values())
