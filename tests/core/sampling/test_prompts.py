"""The three prompts ask for the same program; only one of them ever holds an observation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import get_args

import pytest

from conself_local.problems.problem import Problem
from conself_local.sampling.extract import extract_program
from conself_local.sampling.prompts import answer_prefix, program_messages
from conself_local.sampling.sampler import ChatMessage, Completion, EncodedPrompt, SampleRequest
from conself_local.settings import LAPTOP, PAPER, Prompt, replace_values
from conself_local.stages.prompting import encode_program, prefix_of

PROMPTS: tuple[Prompt, ...] = get_args(Prompt)
FUNCTION = Problem("p", "Add two numbers.", "function", ((1, 2),), "train", "add", "def add(a, b):")
METHOD = dataclasses.replace(FUNCTION, entry_point="S.add", starter_code="class S:\n    def add(self, a, b):")
STDIN = Problem("q", "Echo.", "stdin", ("x",), "train")


class Recorder:
    """A sampler that only encodes: the text is the messages and the prefix."""

    def encode(
        self, messages: Sequence[ChatMessage], answer_prefix: str = "", *, thinking: bool = False
    ) -> EncodedPrompt:
        return EncodedPrompt("".join(m.content for m in messages) + answer_prefix, (1,))

    def sample(self, requests: Iterable[SampleRequest]) -> Iterator[Completion]:
        raise AssertionError("nothing is sampled here")

    def score(self, prompt: Sequence[int], completion: Sequence[int], adapter: Path | None = None) -> list[float]:
        raise AssertionError("nothing is scored here")

    def close(self) -> None:
        raise AssertionError("it was not opened here")


def test_the_first_prompt_is_the_one_that_rounds_always_had() -> None:
    (message,) = program_messages(FUNCTION, "Mind zero.")
    assert message.content == (
        "Add two numbers.\n\nKeep this in mind: Mind zero.\n\nStart from this code:\n```python\ndef add(a, b):\n```\n\n"
        "Answer with one ```python block that holds the whole program and nothing else."
    )
    assert PAPER.sampling.prompt == LAPTOP.sampling.prompt == "observation"


def test_completion_asks_as_evalplus_does() -> None:
    (message,) = program_messages(FUNCTION, "Mind zero.", "completion")
    assert message.content == (
        "Please provide a self-contained Python script that solves the following problem in a markdown code block:\n"
        '```\ndef add(a, b):\n    """\n    Add two numbers.\n    """\n```\n'
    )
    prefix = answer_prefix(FUNCTION, "completion")
    assert prefix.startswith("Below is a Python script with a self-contained function") and prefix.endswith(
        "\n```python\n"
    )
    assert extract_program(prefix + "def add(a, b):\n    return a + b\n```") == "def add(a, b):\n    return a + b\n"
    assert '\n        """\n        Add' in program_messages(METHOD, prompt="completion")[0].content
    assert "stdin" in program_messages(STDIN, prompt="completion")[0].content


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("problem", [FUNCTION, METHOD, STDIN, dataclasses.replace(FUNCTION, starter_code="")])
def test_every_prompt_holds_the_statement_and_the_name(prompt: Prompt, problem: Problem) -> None:
    (message,) = program_messages(problem, None, prompt)
    assert problem.statement in message.content.replace("    Add", "Add")
    assert problem.kind == "stdin" or "add" in message.content


@pytest.mark.parametrize("prompt", PROMPTS)
def test_one_function_encodes_for_sampling_training_and_judging(prompt: Prompt) -> None:
    settings = replace_values(LAPTOP, {"sampling.prompt": prompt})
    plain, prefix = encode_program(Recorder(), FUNCTION, settings)
    guided, _ = encode_program(Recorder(), FUNCTION, settings, "Mind zero.")
    assert (guided != plain) == (prompt == "observation"), "else one prompt is used everywhere"
    assert plain.text.endswith(prefix) and prefix == prefix_of(FUNCTION, settings) == answer_prefix(FUNCTION, prompt)
    assert prefix_of(FUNCTION, replace_values(settings, {"sampling.answer_prefix": False})) == ""
