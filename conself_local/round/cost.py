"""Compute what a round costs from its settings and from what was measured: answers, pairs, seconds.

Pure functions over counts and rates. Not covered: measuring the rates and keeping them (`forecast.py`), and how far a
running round is (`time_left.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from conself_local.settings import Settings
from conself_local.stages.benchmark import ARMS

TYPICAL_TOKENS = 100.0
"""Tokens per program of a small model, until programs of this model were sampled in this home."""
TYPICAL_PAIRS = 0.72
"""Pairs per problem, as measured with the bundled model on the starter pack, until this home has built some."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What was measured with one model on this computer."""

    tokens_per_second: float
    """Tokens that all slots together sample per second."""
    seconds_per_pair: float | None = None
    """Seconds of training per pair and epoch; None if it could not be measured."""
    training_bytes: int | None = None
    """Peak memory of training; None if it could not be measured."""


@dataclass(frozen=True, kw_only=True)
class Experience:
    """What the rounds of this home showed about one model, or what is typical."""

    tokens_per_program: float = TYPICAL_TOKENS
    pairs_per_problem: float = TYPICAL_PAIRS


@dataclass(frozen=True, kw_only=True)
class Work:
    """How much a round does."""

    answers: int
    """Answers that are sampled: observations and programs."""
    pairs: int
    """Pairs that training sees, an estimate."""
    judged: int
    """Answers that are judged: greedy and sampled ones of both arms."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """How long a round takes, in seconds per part."""

    sampling_s: float
    training_s: float | None
    judging_s: float

    @property
    def seconds(self) -> float:
        """The seconds of all parts that are known."""
        return self.sampling_s + (self.training_s or 0.0) + self.judging_s


def work_of(settings: Settings, problems: int, judged: int, experience: Experience) -> Work:
    """Return how much a round on `problems` training problems does that judges `judged` problems.

    Example: 10 problems at 3 observations and 5 programs each -> 180 answers (30 observations, 150 programs).
    """
    sampling = settings.sampling
    observations = sampling.observations if sampling.asks_for_observations else 0
    answers = problems * (observations + sampling.samples_per_problem)
    pairs = round(problems * experience.pairs_per_problem)
    return Work(
        answers=answers,
        pairs=min(pairs, problems * settings.pairs.max_pairs),
        judged=len(ARMS) * judged * (1 + settings.evaluation.samples),
    )


def cost_of(settings: Settings, work: Work, rates: Rates, experience: Experience) -> Cost:
    """Return the seconds of a round; an answer takes as many tokens as programs of this model took, up to the limit."""
    sampled = min(experience.tokens_per_program, settings.sampling.max_new_tokens)
    judged = min(experience.tokens_per_program, settings.evaluation.max_new_tokens)
    per_pair = rates.seconds_per_pair
    return Cost(
        sampling_s=work.answers * sampled / rates.tokens_per_second,
        training_s=None if per_pair is None else work.pairs * settings.training.epochs * per_pair,
        judging_s=work.judged * judged / rates.tokens_per_second,
    )
