"""Open the llama.cpp engine for a model: converted weights, KV cache, GPU layers.

The memory is checked before anything is loaded. Not covered: endpoints (`endpoint.py`) and MLX folders (`MlxProcess`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from conself_local.machine.gpu import usable_gpu
from conself_local.machine.room import verify_memory
from conself_local.model_files.converted_weights import ensure_converted_weights
from conself_local.model_files.memory import kv_tokens, layers_that_fit, sampling_bytes
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
    context_tokens = kv_tokens(model, slots, min(model.context_length, longest))
    gpu = usable_gpu() if use_gpu else None
    kv_bytes = model.kv_bytes_per_token * context_tokens
    weights_bytes = model.size_bytes if weights == model.path else weights.stat().st_size
    gpu_layers = layers_that_fit(model, weights_bytes, kv_bytes, gpu) if gpu else 0
    hint = "use fewer slots (--slots), close other programs, or use a smaller model"
    verify_memory("sampling", sampling_bytes(model, weights_bytes, context_tokens, slots), hint)
    return LlamaProcess(
        model,
        slots=slots,
        context_tokens=context_tokens,
        threads=threads,
        weights=weights,
        gpu_layers=gpu_layers,
        on_notice=on_notice,
    )
