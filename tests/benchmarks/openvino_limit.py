"""Run OpenVINO GenAI's own batch call without our queue, stops and texts: the bound of the engine over it.

It is started by `sampling_speed.py --engine openvino`. Every prompt gets SAMPLES greedy answers of equal length, in one
call; nothing of our package but the file's token ids is used.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from conself_local.sampling.openvino_runtime import Runtime, RuntimeOptions


def bare_rate(
    weights: Path, options: RuntimeOptions, prompts: Sequence[Sequence[int]], samples: int, length: int
) -> float:
    """Return tokens per second over `samples` answers of `length` tokens to each prompt."""
    runtime = Runtime()
    pipeline = runtime.open_pipeline(weights, options, scoring=False)
    config = runtime.genai.GenerationConfig()
    config.set_eos_token_id(0)
    config.ignore_eos = True
    config.max_new_tokens = length
    tensors = [runtime.tensor(list(prompt)) for prompt in prompts for _ in range(samples)]
    started = time.perf_counter()
    answers = pipeline.generate(tensors, [config] * len(tensors))
    seconds = time.perf_counter() - started
    return sum(len(ids) for answer in answers for ids in answer.m_generation_ids) / seconds
