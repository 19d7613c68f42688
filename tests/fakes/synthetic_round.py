"""A round of any size without a model: scripted answers, and a sandbox that only looks into the code.

A program names its variant in its first line. Programs of one variant behave alike, one variant crashes, and each
problem has its own mixture of them, so that all stages have something to do.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from conself_local.problems.problem import Problem
from conself_local.sampling.sampler import ChatMessage, Completion, EncodedPrompt, SampleRequest
from conself_local.settings import LAPTOP
from conself_local.store.store import RoundInfo, Store
from sandbox import Limits, Output, Program, ProgramResult, Status

INPUTS = 20
_VARIANT = re.compile(r"variant (\d+)")
_CRASHES = 7
_FILLER = "    # " + "the kind of comment that a model likes to write " * 8


def make_problems(count: int) -> list[Problem]:
    """Return `count` training problems with twenty inputs each."""
    words = random.Random(0)
    return [
        Problem(
            f"synthetic/{number}",
            f"Task {number}: " + " ".join(f"word{words.randrange(5000)}" for _ in range(60)),
            "function",
            tuple(((number % 50 + i, [i, i + 1, i * 2]),) for i in range(INPUTS)),
            "train",
            entry_point=f"task_{number}",
            starter_code=f"def task_{number}(value):",
        )
        for number in range(count)
    ]


def start_round(store: Store, problems: Sequence[Problem]) -> RoundInfo:
    """Store a round on these problems with the settings of `laptop`."""
    return store.start_round(
        seed=1,
        settings=LAPTOP,
        model_path=Path("/models/none.gguf"),
        model_sha256="0" * 64,
        template_hash="0" * 64,
        base_adapter_id=None,
        versions={},
        request={"problems": None, "limit": None, "benchmarks": []},
        problems=problems,
    )


class ScriptedSampler:
    """Answers by the seed of the request; it writes no observations, so programs come from the plain prompt."""

    def encode(
        self, messages: Sequence[ChatMessage], answer_prefix: str = "", *, thinking: bool = False
    ) -> EncodedPrompt:
        """Return a prompt whose tokens depend on its text."""
        text = "\n".join(m.content for m in messages) + answer_prefix
        draw = random.Random(text)
        return EncodedPrompt(text, tuple(draw.randrange(30_000) for _ in range(150)))

    def sample(self, requests: Iterable[SampleRequest]) -> Iterator[Completion]:
        """Yield an answer of some 200 tokens for each request, in order."""
        for request in requests:
            draw = random.Random(request.seed)
            variant = min(draw.randrange(10), draw.randrange(10))
            code = f"    # variant {variant}, {draw.randrange(3)}\n{_FILLER}\n    return value\n```"
            tokens = tuple(draw.randrange(30_000) for _ in range(200))
            yield Completion(request.key, code, tokens, "fence", draw.random(), draw.random())

    def score(
        self, prompt_token_ids: Sequence[int], completion_token_ids: Sequence[int], adapter: Path | None = None
    ) -> list[float]:
        """Return a log-probability per token."""
        return [-1.0] * len(completion_token_ids)

    def close(self) -> None:
        """Do nothing."""


class SyntheticSandbox:
    """Takes the place of `Sandbox`: what a program returns depends on its variant and on the input."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.ran: list[str] = []
        """The ids of the programs, in the order in which they ran."""

    def run(self, programs: Iterable[Program]) -> Iterator[ProgramResult]:
        """Yield a result for every program, in order."""
        for program in programs:
            self.ran.append(program.id)
            found = _VARIANT.search(program.source)
            variant = int(found[1]) if found else 0
            load = Output(Status.OK, None, "", 0.001, 0.001)
            yield ProgramResult(
                program.id, load, tuple(_output(variant, i, one) for i, one in enumerate(program.inputs)), True
            )

    def close(self) -> None:
        """Do nothing."""

    def __enter__(self) -> SyntheticSandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def make_sandbox(limits: Limits) -> Any:
    """Return a synthetic sandbox where a `Sandbox` is wanted."""
    return SyntheticSandbox(limits)


def _output(variant: int, index: int, value: object) -> Output:
    if variant == _CRASHES or (variant > _CRASHES and index % 2):
        return Output(Status.ERROR, None, "TypeError", 0.001, 0.001)
    text = f"[{index}, {float(variant * (index % 3))!r}, {value!r}]"
    return Output(Status.OK, text, "", 0.001, 0.001)
