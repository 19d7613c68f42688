"""The method: pure functions over plain values; no I/O, no torch, no store. Source: arXiv 2603.29292."""

from conself_local.method.behaviour import Behaviour, comparison_key, crash_rate, is_constant, is_crashed
from conself_local.method.con_dpo import con_dpo_loss
from conself_local.method.consensus import consensus
from conself_local.method.curriculum import ProblemScore, normalise_entropy, select_learnable
from conself_local.method.entropy import clusters, semantic_entropy_bits
from conself_local.method.pairs import Pair, ScoredSample, build_pairs, random_pairs

__all__ = [
    "Behaviour",
    "Pair",
    "ProblemScore",
    "ScoredSample",
    "build_pairs",
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
]
