"""Opens the engine over a model: its converted weights, KV memory, graphics card; memory is checked before anything loads."""

from __future__ import annotations

from pathlib import Path

from conself_local.machine.gpu import usable_gpu
from conself_local.machine.room import verify_memory
from conself_local.model_files.converted_weights import ensure_converted_weights
from conself_local.model_files.memory import kv_tokens, layers_that_fit, sampling_bytes
from conself_local.model_files.model_file import ModelFile
from conself_local.sampling.engine_process import LlamaProcess


def open_llama(
    model: ModelFile, weights_format: str, cache: Path, *, slots: int, threads: int, longest: int, use_gpu: bool
) -> LlamaProcess:
    """weights_format: one of `FORMATS`, converted now if the cache has none; longest: tokens of prompt and answer together.

    Raises ConselfError where the copy, the memory or the model is not to be had.
    """
    weights = ensure_converted_weights(model, weights_format, cache)
    context_tokens = kv_tokens(model, slots, min(model.context_length, longest))
    gpu = usable_gpu() if use_gpu else None
    kv_bytes = model.kv_bytes_per_token * context_tokens
    gpu_layers = layers_that_fit(model, weights.stat().st_size, kv_bytes, gpu) if gpu else 0
    hint = "use fewer slots (--slots), close other programs, or use a smaller model"
    verify_memory("sampling", sampling_bytes(model, weights, context_tokens), hint)
    return LlamaProcess(
        model, slots=slots, context_tokens=context_tokens, threads=threads, weights=weights, gpu_layers=gpu_layers
    )
