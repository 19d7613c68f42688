"""Define the settings of sampling: the observations and the programs that the model writes.

The defaults are those of the preset `paper`. Source: arXiv 2603.29292 and the settings of the authors' artifact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from conself_local.settings.describe import setting

_MAX_TOKENS = 1_000_000
Prompt = Literal["observation", "plain", "completion"]
"""How a program is asked for (`sampling/prompts.py`)."""


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """How observations and programs are sampled from the model."""

    prompt: Prompt = setting(
        "observation",
        label="Prompt",
        meaning="The prompt of programs for sampling, training and judging: observation is ours, and holds an "
        "observation only while sampling; plain asks as in a chat; completion asks as EvalPlus does. With the last "
        "two, no observations are asked for.",
        time="Sampling becomes shorter without observations.",
        reason="It is the paper's choice.",
    )
    observations: int = setting(
        3,
        label="Observations",
        meaning="Number of observations per problem, hints that the model writes before its programs.",
        unit="per problem",
        at_least=1,
        at_most=100,
        time="Sampling and execution take proportionally longer.",
        reason="It is the paper's choice.",
    )
    programs_per_observation: int = setting(
        5,
        label="Programs per observation",
        meaning="Number of programs sampled with each observation in the prompt.",
        unit="per observation",
        at_least=1,
        at_most=1000,
        time="Sampling and execution take proportionally longer.",
        reason="It is the paper's choice.",
    )
    adaptive: bool = setting(
        False,
        label="Sample adaptively",
        meaning="Sample 5 programs of each problem and more only while a sequential test leaves open what its programs "
        "do; the saved samples go to problems with two or three behaviours.",
        time="Sampling becomes shorter, because many problems are decided early.",
        reason="It is off, because it was not measured what a model learns from fewer samples.",
    )
    adaptive_error: float = setting(
        0.33,
        label="Error of adaptive sampling",
        meaning="Largest probability with which each of the sequential tests may be wrong, the last one at each look.",
        above=0,
        below=0.5,
        time="Sampling becomes shorter with a larger error.",
        reason="With 0.33, five programs decide if none of them behaves like two others, or if three behave alike and "
        "no two others do.",
    )
    adaptive_cap: int = setting(
        20,
        label="Cap of adaptive sampling",
        meaning="Maximum number of programs of a problem that gets what others saved; no effect if it is at most the "
        "fixed number.",
        unit="per problem",
        at_least=1,
        at_most=1_000_000,
        time="Sampling takes longer with a higher cap, but never longer than without adaptive sampling.",
        reason="One more batch of 5 settles many problems whose first two behaviours are close.",
    )
    observation_temperature: float = setting(
        0.7,
        label="Temperature of observations",
        meaning="Sampling temperature of observations; 0 is greedy.",
        at_least=0,
        at_most=2,
        time="No effect.",
        reason="It is the paper's choice.",
    )
    observation_top_p: float = setting(
        0.8,
        label="Top-p of observations",
        meaning="Nucleus (top-p) of observations: the share of probability that is sampled from.",
        above=0,
        at_most=1,
        time="No effect.",
        reason="It is the paper's choice.",
    )
    observation_max_new_tokens: int = setting(
        512,
        label="Longest observations",
        meaning="Maximum length of the completion that holds the observations of a problem.",
        unit="tokens",
        at_least=1,
        at_most=_MAX_TOKENS,
        time="Sampling takes longer if observations reach the limit.",
        reason="Three short hints fit, and a model that misses the format does not write on for long.",
    )
    max_observation_attempts: int = setting(
        3,
        label="Attempts at observations",
        meaning="Maximum number of attempts at a problem's observations; if all fail, its programs get the plain "
        "prompt.",
        unit="attempts",
        at_least=1,
        at_most=100,
        time="Each attempt that is needed costs one more completion per problem.",
        reason="Small models often miss the observation format, and a third attempt costs as much as it gains.",
    )
    temperature: float = setting(
        1.0,
        label="Temperature",
        meaning="Sampling temperature of programs; 0 is greedy.",
        at_least=0,
        at_most=2,
        time="No effect.",
        reason="It is the paper's choice.",
    )
    top_p: float = setting(
        0.8,
        label="Top-p",
        meaning="Nucleus (top-p) of programs: the share of probability that is sampled from.",
        above=0,
        at_most=1,
        time="No effect.",
        reason="It is the paper's choice.",
    )
    max_new_tokens: int = setting(
        2048,
        label="Longest program",
        meaning="Maximum length of the completion that holds a program.",
        unit="tokens",
        at_least=1,
        at_most=_MAX_TOKENS,
        time="Sampling takes longer, and needs more memory per slot.",
        reason="The answer begins and ends with the code, so a function fits.",
    )
    thinking_tokens: int = setting(
        0,
        label="Tokens to think",
        meaning="Maximum length of the thoughts of a reasoning model before each program; 0: it answers at once. A "
        "model that thinks gets no answer prefix, and its completions do not end at the first code block.",
        unit="tokens",
        at_least=0,
        at_most=_MAX_TOKENS,
        time="Sampling and evaluation take several times as long.",
        reason="Thoughts multiply the time of a round.",
    )
    answer_prefix: bool = setting(
        False,
        label="Begin the answer",
        meaning="Begin the answer with the code fence and the starter code, as part of the prompt.",
        time="Sampling becomes shorter, because no words stand before the code.",
        reason="The bundled model too often misses the code block or the name of the function.",
    )
    stop_at_fence: bool = setting(
        False,
        label="End after the code",
        meaning="End a completion at the fence that closes its first code block.",
        time="Sampling becomes shorter, because no words stand behind the code.",
        reason="Only the first code block is used, and small models add long explanations.",
    )
    stop_at_repetition: bool = setting(
        False,
        label="End at repetition",
        meaning="End a completion whose end repeats one short piece many times.",
        time="Sampling becomes shorter if the model falls into loops.",
        reason="Small models fall into loops, which would fill a slot up to the limit.",
    )

    @property
    def ends_at_fence(self) -> bool:
        """Whether completions end at the fence that closes their first code block: thoughts may hold some too."""
        return self.stop_at_fence and not self.thinking_tokens

    @property
    def longest_completion(self) -> int:
        """Maximum number of tokens in the completion that holds a program, thoughts included."""
        return self.max_new_tokens + self.thinking_tokens

    @property
    def asks_for_observations(self) -> bool:
        """Whether the prompt of programs holds observations, so that the model is asked for them first."""
        return self.prompt == "observation"

    @property
    def samples_per_problem(self) -> int:
        """Number of programs sampled per problem: observations times programs per observation."""
        return self.observations * self.programs_per_observation
