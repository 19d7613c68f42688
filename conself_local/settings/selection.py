"""Define the settings of selection and of pairs: which problems are learnable, and which programs form a pair.

The defaults are those of the preset `paper`. Source: arXiv 2603.29292 and the settings of the authors' artifact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from conself_local.method.curriculum import EntropyNormalisation
from conself_local.method.pairs import Rejected
from conself_local.method.votes import VoteWeights
from conself_local.settings.describe import setting

Pairing = Literal["consensus", "random"]
PairWeight = Literal["consensus", "margin", "one", "none"]


@dataclass(frozen=True, kw_only=True)
class SelectionSettings:
    """Which problems are learnable."""

    max_crash_rate: float = setting(
        0.8,
        label="Crash rate limit",
        meaning="Problems with this crash rate or a higher one are not selected.",
        unit="share of samples",
        above=0,
        at_most=1,
        time="Training takes longer if more problems are selected.",
        reason="It is the paper's choice.",
    )
    entropy_normalisation: EntropyNormalisation = setting(
        "min-max",
        label="Normalisation of entropy",
        meaning="How the entropy of a problem is normalised: over the problems of the run, or by log2 of the valid "
        "samples.",
        time="Training takes longer if more problems are selected.",
        reason="With min-max, a problem's normalised entropy depends on the hardest problem of the run.",
    )
    entropy_threshold: float | None = setting(
        0.3,
        label="Entropy threshold",
        meaning="Problems whose normalised entropy is below this are selected; none selects every informative problem.",
        above=0,
        at_most=1,
        time="Training takes longer if more problems are selected.",
        reason="The paper's threshold selects 54 of 474 problems, too few to learn from; the least cluster share "
        "decides instead.",
    )


@dataclass(frozen=True, kw_only=True)
class PairSettings:
    """Which programs are chosen and rejected, and how much a pair weighs."""

    pool_rounds: bool = setting(
        False,
        label="Pool the votes of rounds",
        meaning="Samples of earlier rounds of the home, with the same model and plain prompt, vote too, and each round "
        "trains a new adapter from the base model; if off, it trains the accepted adapter further.",
        time="Training takes longer in later rounds if more problems give pairs.",
        reason="It is off, because two rounds with it at all of the strength lost variety too: pass@20 of the bundled "
        "model fell from 42.0 to 28.0.",
    )
    later_programs: int | None = setting(
        None,
        label="Programs of later rounds",
        meaning="Programs per observation in a round that pools votes, if earlier samples of all its problems vote; "
        "none: as many as in the first round.",
        unit="per observation",
        at_least=1,
        at_most=1000,
        time="Later rounds take less time with fewer programs.",
        reason="No preset pools votes.",
    )
    rejected: Rejected = setting(
        "lowest-first",
        label="Rejected programs",
        meaning="Which samples are rejected, and in which order: the lowest consensus first, those that ran first, or "
        "the nearest in length of those that ran.",
        time="No effect.",
        reason="Programs that ran and disagreed teach more than crashed ones, and longer ones would teach brief "
        "answers.",
    )
    distinct_code: bool = setting(
        False,
        label="Treat equal code as one",
        meaning="Treat samples of equal code as one candidate for pairs.",
        time="Training becomes shorter if fewer pairs are built.",
        reason="The same pair twice teaches nothing new.",
    )
    min_cluster_share: float = setting(
        0.0,
        label="Least cluster share",
        meaning="Least share of the samples that ran that must behave as a chosen sample, itself included.",
        unit="share of samples",
        at_least=0,
        at_most=1,
        time="Training becomes shorter with a higher share, because fewer pairs are built.",
        reason="If few samples behave as the chosen one, its behaviour is not believed.",
    )
    allow_constant_chosen: bool = setting(
        True,
        label="Allow constant programs",
        meaning="Whether a program that gives the same output for every input may be chosen.",
        time="Training becomes shorter without them, because fewer pairs are built.",
        reason="Programs that ignore their input agree with each other without being right.",
    )
    vote_weights: VoteWeights = setting(
        "equal",
        label="Weights of votes",
        meaning="Weight of a program's vote in the consensus: equal, or informative: programs that only return None 0, "
        "constants 0.3, others 1; then a constant may be chosen if every program that ran is one.",
        time="No effect.",
        reason="It is the paper's choice.",
    )
    max_cluster_share: float | None = setting(
        None,
        label="Cluster share limit",
        meaning="The share of the samples that ran and behave as a chosen one must be below this; none: no limit.",
        unit="share of samples",
        above=0,
        at_most=1,
        time="Training becomes shorter with a lower limit, because fewer pairs are built.",
        reason="The paper has no such limit.",
    )
    min_vote_share: float = setting(
        0.0,
        label="Least vote share",
        meaning="Least share of all samples, crashed ones too, that must behave as a chosen sample, itself included.",
        unit="share of samples",
        at_least=0,
        at_most=1,
        time="Training becomes shorter with a higher share, because fewer pairs are built.",
        reason="The paper has no such limit.",
    )
    min_vote_margin: float = setting(
        0.0,
        label="Least vote margin",
        meaning="Least lead of a chosen sample's behaviour over the one with the next most votes, as a share of all "
        "samples, crashed ones too.",
        unit="share of samples",
        at_least=0,
        at_most=1,
        time="Training becomes shorter with a higher margin, because fewer pairs are built.",
        reason="The paper has no such limit.",
    )
    chosen_programs: int | None = setting(
        None,
        label="Chosen programs",
        meaning="Maximum number of chosen programs of a problem, each of another syntax tree, the likeliest under the "
        "plain prompt first; none: all of the highest consensus, in the order in which they were sampled.",
        unit="programs",
        at_least=1,
        at_most=1000,
        time="Candidates from prompts with observations are scored once more before pairs are built.",
        reason="It is the paper's choice.",
    )
    max_pairs: int = setting(
        3,
        label="Pairs per problem",
        meaning="Maximum number of pairs per problem.",
        unit="pairs per problem",
        at_least=1,
        at_most=1000,
        time="Training takes proportionally longer.",
        reason="It is the paper's choice.",
    )
    pairing: Pairing = setting(
        "consensus",
        label="Pairing",
        meaning="By consensus, as the method says, or at random among the programs that compiled, as a control.",
        time="No effect.",
        reason="Random pairs only show what consensus brings.",
    )
    weight: PairWeight = setting(
        "consensus",
        label="Weight of the preference",
        meaning="Weight of the preference term: the chosen's consensus, the margin of votes over the next behaviour, "
        "one (plain DPO), or none (the SFT term alone).",
        time="No effect.",
        reason="It is the paper's choice.",
    )
    user_weight: float = setting(
        0.0,
        label="Weight of your own answers",
        meaning="Weight of the pairs that follow from your answers to `conself ask --best-of`; 0: they train nothing.",
        at_least=0,
        at_most=1,
        time="Training takes slightly longer if you have answered questions.",
        reason="The method needs no word of yours, so you decide whether your answers train.",
    )
