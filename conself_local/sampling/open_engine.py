"""Open an engine for a model: llama.cpp or OpenVINO for a GGUF file, mlx-lm for a folder of MLX weights.

The memory is checked before anything is loaded. OpenVINO is opened only for a model that it provably reads as llama.cpp
does. Not covered: endpoints (`endpoint.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from conself_local.errors import ConselfError
from conself_local.machine.gpu import free_card_bytes, usable_gpu
from conself_local.machine.mlx import verify_mlx
from conself_local.machine.openvino import verify_openvino
from conself_local.machine.resources import available_memory_bytes
from conself_local.machine.room import verify_memory
from conself_local.model_files.converted_weights import ORIGINAL, ensure_converted_weights
from conself_local.model_files.memory import (
    CardPlan,
    kv_tokens,
    mlx_bytes,
    mlx_slots,
    openvino_bytes,
    plan_card,
    sampling_bytes,
)
from conself_local.model_files.mlx_folder import MlxFolder
from conself_local.model_files.model import Model, gguf_model
from conself_local.model_files.model_file import ModelFile
from conself_local.model_files.openvino_models import OPENVINO_FORMATS, unreadable_reason
from conself_local.problems.load import load_starter
from conself_local.sampling.config import LLAMA_CPP, MLX, OPENVINO_GPU, SamplingConfig
from conself_local.sampling.engine_process import EngineProcess, LlamaProcess, MlxProcess
from conself_local.sampling.logp_gap import PROMPTS, ReferenceAnswers
from conself_local.sampling.openvino_process import MergeAdapter, OpenVinoProcess, no_adapters
from conself_local.sampling.openvino_proof import load_gap, store_gap, verify_gap
from conself_local.sampling.prompts import program_messages

_HINT = "use fewer slots (--slots), close other programs, or use a smaller model"
_PROOF_TOKENS = 512


def open_engine(
    model: Model,
    config: SamplingConfig,
    cache: Path,
    *,
    longest: int,
    use_gpu: bool,
    merge: MergeAdapter = no_adapters,
    on_notice: Callable[[str], None] = lambda text: None,
) -> EngineProcess:
    """Start the engine that `config` names, which the caller closes; for a folder of MLX weights that is always mlx-lm.

    The other arguments are those of `open_llama` and `open_openvino`. Raises ConselfError as they do.
    """
    if isinstance(model, MlxFolder):
        return open_mlx(model, config, longest=longest, on_notice=on_notice)
    gguf = gguf_model(model, f"the engine {config.engine}")
    if config.engine == LLAMA_CPP:
        return open_llama(
            gguf,
            config.format,
            cache,
            slots=config.slots,
            threads=config.threads,
            longest=longest,
            use_gpu=use_gpu,
            on_notice=on_notice,
        )
    return open_openvino(gguf, config, cache, longest=longest, merge=merge, on_notice=on_notice)


def open_original(
    model: Model,
    cache: Path,
    *,
    slots: int,
    threads: int,
    longest: int,
    use_gpu: bool,
    on_notice: Callable[[str], None] = lambda text: None,
) -> EngineProcess:
    """Start the engine of the model over its original weights; arguments and errors are those of `open_engine`."""
    config = SamplingConfig(ORIGINAL, slots, threads, engine_of_original(model))
    return open_engine(model, config, cache, longest=longest, use_gpu=use_gpu, on_notice=on_notice)


def engine_of_original(model: Model) -> str:
    """Return the engine that samples from the original weights of a model."""
    return MLX if isinstance(model, MlxFolder) else LLAMA_CPP


def open_mlx(
    model: MlxFolder, config: SamplingConfig, *, longest: int, on_notice: Callable[[str], None] = lambda text: None
) -> MlxProcess:
    """Start mlx-lm on a folder; it has fewer slots than `config` says if their keys and values need too much memory.

    Raises ConselfError if MLX is not installed or cannot load the folder, if another weights format is asked for, or
    if the memory is too small.
    """
    verify_mlx()
    if config.format != ORIGINAL:
        raise ConselfError(
            f"a folder of MLX weights is sampled as it is, not in the format {config.format}",
            f"omit --weights-format, or give {ORIGINAL}",
        )
    longest = min(model.context_length, longest)
    slots = mlx_slots(model, config.slots, longest, available_memory_bytes())
    verify_memory("sampling", mlx_bytes(model, slots * longest), _HINT)
    return MlxProcess(model, slots=slots, context_tokens=slots * longest, on_notice=on_notice)


def open_openvino(
    model: ModelFile,
    config: SamplingConfig,
    cache: Path,
    *,
    longest: int,
    merge: MergeAdapter = no_adapters,
    on_notice: Callable[[str], None] = lambda text: None,
) -> OpenVinoProcess:
    """Start OpenVINO on converted weights, which are made now if the cache does not have them.

    The first time, the gap to llama.cpp on the original file is measured, which takes some seconds. `longest` is the
    maximum number of tokens of prompt and completion together; `merge` makes the file for an adapter.
    Raises ConselfError if OpenVINO is not installed, does not read the model as llama.cpp does or cannot load it, or
    if the memory is too small.
    """
    verify_openvino()
    reason = unreadable_reason(model)
    if reason:
        raise ConselfError(f"OpenVINO does not read {model.name} rightly: {reason}", "sample with --engine llama.cpp")
    if config.format not in OPENVINO_FORMATS:
        raise ConselfError(
            f"OpenVINO does not sample from the format {config.format}",
            f"use --weights-format {' or '.join(OPENVINO_FORMATS)}, or --engine llama.cpp",
        )
    device = "GPU" if config.engine == OPENVINO_GPU else "CPU"
    gap = load_gap(model, config.format, device, cache)
    reference = ReferenceAnswers()
    if gap is None:
        _take_reference(model, cache, config.threads, reference)
    else:
        verify_gap(model, gap)
    weights = ensure_converted_weights(model, config.format, cache)
    longest = min(model.context_length, longest)
    context_tokens = kv_tokens(model, config.slots, longest)
    verify_memory("sampling", openvino_bytes(model, weights.stat().st_size, context_tokens), _HINT)
    engine = OpenVinoProcess(
        model,
        weights,
        slots=config.slots,
        context_tokens=context_tokens,
        longest=longest,
        threads=config.threads,
        merge=merge,
        device=device,
        on_notice=on_notice,
    )
    if gap is None:
        try:
            gap = reference.gap(engine)
            store_gap(model, config.format, device, cache, gap)
            verify_gap(model, gap)
        except BaseException:
            engine.close()
            raise
    return engine


def _take_reference(model: ModelFile, cache: Path, threads: int, reference: ReferenceAnswers) -> None:
    """Let llama.cpp answer from the original file, on the processor."""
    with open_llama(
        model, ORIGINAL, cache, slots=PROMPTS, threads=threads, longest=_PROOF_TOKENS, use_gpu=False
    ) as original:
        prompts = [original.encode(program_messages(p)) for p in load_starter(("train",))[:PROMPTS]]
        reference.take(original, prompts)


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
    host_bytes = sampling_bytes(model, int(weights_bytes * plan.host_share), plan.context_tokens, slots)
    verify_memory("sampling", host_bytes, _HINT)
    return LlamaProcess(
        model,
        slots=slots,
        context_tokens=plan.context_tokens,
        threads=threads,
        weights=weights,
        gpu_layers=plan.layers,
        on_notice=on_notice,
    )
