"""The method as pure functions over plain values.

Programs that behave alike form a cluster (`entropy`), agreement per input gives each sample a consensus (`consensus`),
problems are selected by entropy (`curriculum`), programs are chosen by consensus and votes (`chosen`, `votes`),
preference pairs are built with them (`pairs`), and the Con-DPO loss trains on these pairs (`con_dpo`).

The worked examples use five samples `a` to `e` on two inputs:
a `("1", "2")`, b `("1", "2")`, c `("1", "3")`, d `(None, "2")`, e `(None, None)`.

Not covered: sampling, execution, storage and training; no function here reads a file or needs torch.
Source: arXiv 2603.29292 (ConSelf).
"""

from conself_local.method.behaviour import Behaviour, comparison_key, crash_rate, is_constant, is_crashed
from conself_local.method.chosen import ChosenRules, ScoredSample, choose
from conself_local.method.con_dpo import con_dpo_loss
from conself_local.method.consensus import consensus
from conself_local.method.curriculum import ProblemScore, normalise_entropy, select_learnable
from conself_local.method.entropy import clusters, semantic_entropy_bits
from conself_local.method.pairs import Pair, build_pairs, random_pairs
from conself_local.method.votes import vote_margin, voter_weight, voter_weights

__all__ = [
    "Behaviour",
    "ChosenRules",
    "Pair",
    "ProblemScore",
    "ScoredSample",
    "build_pairs",
    "choose",
    "clusters",
    "comparison_key",
    "con_dpo_loss",
    "consensus",
    "crash_rate",
    "is_constant",
    "is_crashed",
    "normalise_entropy",
    "random_pairs",
    "select_learnable",
    "semantic_entropy_bits",
    "vote_margin",
    "voter_weight",
    "voter_weights",
]
