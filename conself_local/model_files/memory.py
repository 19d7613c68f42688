"""How much memory sampling and training will take, and whether it is there: told before anything is loaded.

Sampling: the weights that run, 16-bit keys and values of the whole context, and what llama.cpp needs beside them.
Training: what it takes at the least; the trainer itself times and measures a short step before it begins (`training/plan.py`).
"""

from __future__ import annotations

from pathlib import Path

from conself_local.machine.gpu import Gpu
from conself_local.model_files.model_file import ModelFile

_ENGINE_BASE_BYTES = 64 * 2**20
_LOGIT_ROWS = 192
"""Fitted to measured peaks (`tests/benchmarks/sampling_memory.py`): rows of logits that llama.cpp keeps room for."""
_TRAINER_BASE_BYTES = 800 * 2**20
_TRAINER_BYTES_PER_EMBEDDING = 6
KV_MEMORY_BYTES = 2**30
"""What keys and values of all slots together may take, unless one long prompt alone needs more."""


def sampling_bytes(model: ModelFile, weights: Path, context_tokens: int) -> int:
    """Predicted peak of the engine process: weights, KV memory, logits, the process itself."""
    logits = 4 * model.vocabulary * _LOGIT_ROWS
    return weights.stat().st_size + model.kv_bytes_per_token * context_tokens + logits + _ENGINE_BASE_BYTES


def kv_tokens(model: ModelFile, slots: int, longest: int) -> int:
    """How many tokens of KV memory to ask for: every slot at its longest, within `KV_MEMORY_BYTES`; at least one slot."""
    return max(longest, min(slots * longest, KV_MEMORY_BYTES // model.kv_bytes_per_token))


def training_bytes(model: ModelFile) -> int:
    """The least that the trainer process takes: its libraries, the file's blocks, embeddings and output head unpacked."""
    return (
        _TRAINER_BASE_BYTES
        + model.size_bytes
        + 2 * _TRAINER_BYTES_PER_EMBEDDING * model.vocabulary * model.embedding_length
    )


ALL_LAYERS = 999
_TRAINER_SHARE = 0.25
"""Of a card's memory, left free: the trainer starts only after the engine has ended, but its driver context stays."""


def layers_that_fit(model: ModelFile, weights_bytes: int, kv_bytes: int, gpu: Gpu) -> int:
    """How many of the model's layers go on the card, its KV memory with them; `ALL_LAYERS` for all and the output layer."""
    if gpu.memory_bytes is None:
        return ALL_LAYERS
    room = gpu.memory_bytes * (1 - _TRAINER_SHARE)
    if weights_bytes + kv_bytes <= room:
        return ALL_LAYERS
    a_layer = (weights_bytes + kv_bytes) / (model.block_count + 1)
    return min(model.block_count, int(room / a_layer))
