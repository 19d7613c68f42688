"""Open the llama.cpp engine for a model: converted weights, KV cache, GPU layers.

The memory is checked before anything is loaded. Not covered: endpoints (`endpoint.py`) and MLX folders (`MlxProcess`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from conself_local.machine.gpu import free_card_bytes, usable_gpu
from conself_local.machine.room import verify_memory
from conself_local.model_files.converted_weights import ensure_converted_weights
from conself_local.model_files.memory import CardPlan, kv_tokens, plan_card, sampling_bytes
from conself_local.model_files.model_file import ModelFile
from conself_local.sampling.engine_process import LlamaProcess


def open_llama(
    model: ModelFile,
    weights_format: str,
    cache: Path,
    *,
    slots: int,
    threads: int,
    longest: int,
    use_gpu: bool,
    on_notice: Callable[[str], None] = lambda text: None,
) -> LlamaProcess:
    """Start an engine process, which the caller closes; it has fewer than `slots` slots if the KV cache is too small.

    `weights_format` is one of `FORMATS`; weights that the cache does not have are converted now. `longest` is the
    maximum number of tokens of prompt and completion together. `on_notice` is called with a sentence for the user when
    the engine is restarted.
    Raises ConselfError if the weights cannot be converted, the memory is too small, or the model cannot be loaded.
    """
    weights = ensure_converted_weights(model, weights_format, cache)
    longest = min(model.context_length, longest)
    weights_bytes = model.size_bytes if weights == model.path else weights.stat().st_size
    gpu = usable_gpu() if use_gpu else None
    if gpu:
        plan = plan_card(model, weights_bytes, slots, longest, dataclasses.replace(gpu, free_bytes=free_card_bytes()))
    else:
        plan = CardPlan(0, kv_tokens(model, slots, longest), 1.0)
    hint = "use fewer slots (--slots), close other programs, or use a smaller model"
    host_bytes = sampling_bytes(model, int(weights_bytes * plan.host_share), plan.context_tokens, slots)
    verify_memory("sampling", host_bytes, hint)
    return LlamaProcess(
        model,
        slots=slots,
        context_tokens=plan.context_tokens,
        threads=threads,
        weights=weights,
        gpu_layers=plan.layers,
        on_notice=on_notice,
    )
