"""Encode the prompts of programs under the settings of a round: with an answer prefix, or with room to think.

Sampling, training and judging take their prompts from here, so that they ask in one way.
"""

from __future__ import annotations

from conself_local.problems.problem import Problem
from conself_local.sampling.prompts import answer_prefix, program_messages
from conself_local.sampling.sampler import EncodedPrompt, Sampler
from conself_local.settings import Settings


def prefix_of(problem: Problem, settings: Settings) -> str:
    """Return the beginning of the answer that is given to the model; a model that thinks first gets none."""
    if not settings.sampling.answer_prefix or settings.sampling.thinking_tokens:
        return ""
    return answer_prefix(problem, settings.sampling.prompt)


def encode_program(
    sampler: Sampler, problem: Problem, settings: Settings, observation: str | None = None
) -> tuple[EncodedPrompt, str]:
    """Return the prompt for a program and the answer prefix at its end; without an observation, the plain prompt.

    The plain prompt is that of training and judging; a setting other than `observation` leaves observations out.
    """
    prefix = prefix_of(problem, settings)
    messages = program_messages(problem, observation, settings.sampling.prompt)
    return sampler.encode(messages, prefix, thinking=settings.sampling.thinking_tokens > 0), prefix
