"""Measure how many tokens per second an engine samples while all its slots are busy.

Not covered: which configurations are measured (`tuning.py`).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from conself_local.sampling.sampler import Completion, SampleRequest

_ANSWERS_PER_PROMPT = 5


class Measured(Protocol):
    """What is needed of an engine to measure it."""

    sampled_tokens: int
    """Number of tokens sampled since the engine was made."""

    @property
    def waiting(self) -> int:
        """Number of requests that have no slot yet."""

    @property
    def slots_are_sampling(self) -> bool:
        """Whether every slot has sampled at least one token of its request."""

    def submit(self, request: SampleRequest) -> None:
        """Append a request to the queue."""

    def step(self) -> Iterator[Completion]:
        """Advance the requests by one decode."""


def measure_rate(
    engine: Measured,
    prompts: Sequence[Sequence[int]],
    seconds: float,
    max_new_tokens: int,
    *,
    slots: int,
    adapter: Path | None,
) -> float:
    """Return tokens per second with every slot busy, over about `seconds` from the first full step on.

    The engine must be idle before; afterwards its requests are still there, and the caller removes them.
    """
    requests = (
        SampleRequest(
            f"probe {i}",
            tuple(prompts[i // _ANSWERS_PER_PROMPT % len(prompts)]),
            1.0,
            0.8,
            max_new_tokens,
            i,
            adapter=adapter,
        )
        for i in itertools.count()
    )
    tokens, started = 0, 0.0
    while not started or time.monotonic() - started < seconds:
        while engine.waiting < slots:
            engine.submit(next(requests))
        before = engine.sampled_tokens
        for _ in engine.step():
            continue
        if started:
            tokens += engine.sampled_tokens - before
        elif engine.slots_are_sampling:
            started = time.monotonic()
    return tokens / (time.monotonic() - started)
