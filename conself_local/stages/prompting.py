"""Encode the prompts of programs under the settings of a round: with an answer prefix, or with room to think."""

from __future__ import annotations

from conself_local.problems.problem import Problem
from conself_local.sampling.prompts import answer_prefix, program_messages
from conself_local.sampling.sampler import EncodedPrompt, Sampler
from conself_local.settings import Settings


def prefix_of(problem: Problem, settings: Settings) -> str:
    """Return the beginning of the answer that is given to the model; a model that thinks first gets none."""
    return answer_prefix(problem) if settings.sampling.answer_prefix and not settings.sampling.thinking_tokens else ""


def encode_program(
    sampler: Sampler, problem: Problem, settings: Settings, observation: str | None = None
) -> tuple[EncodedPrompt, str]:
    """Return the prompt for a program and the answer prefix at its end; without an observation, the plain prompt."""
    prefix = prefix_of(problem, settings)
    thinking = settings.sampling.thinking_tokens > 0
    return sampler.encode(program_messages(problem, observation), prefix, thinking=thinking), prefix
