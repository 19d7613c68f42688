"""Predicts how much memory sampling and training take, before anything is loaded.

Sampling: the weights that are sampled from, 16-bit keys and values of the whole context, and llama.cpp's own buffers.
Training: a lower bound only; the trainer times and measures a short step before it begins
(`training/torch_backend/plan.py`).
Not done here: comparing the prediction with the free memory (`machine/room.py`).
"""

from __future__ import annotations

from conself_local.machine.gpu import Gpu
from conself_local.model_files.model_file import ModelFile

_ENGINE_BASE_BYTES = 64 * 2**20
_LOGIT_ROWS = 192
"""Rows of logits that llama.cpp keeps room for, fitted to measured peaks (`tests/benchmarks/sampling_memory.py`)."""
_OPENVINO_COPIES = 2.6
_OPENVINO_BASE_BYTES = 512 * 2**20
_TRAINER_BASE_BYTES = 800 * 2**20
_TRAINER_BYTES_PER_EMBEDDING = 6
KV_MEMORY_BYTES = 2**30
"""Limit for the keys and values of all slots together, unless a single slot at its longest needs more."""


_LAYOUT_STEP = 256


def padded_tokens(slot_tokens: int) -> int:
    """Return the length of the slot that llama.cpp allocates for this number of tokens: it pads to a multiple."""
    return -(-slot_tokens // _LAYOUT_STEP) * _LAYOUT_STEP


def sampling_bytes(model: ModelFile, weights_bytes: int, context_tokens: int, slots: int) -> int:
    """Predict the peak memory of the engine process in bytes: weights, KV memory, states, logits, the process itself.

    weights_bytes: size of the weights that are sampled from; context_tokens: tokens of KV memory over all slots.
    """
    logits = 4 * model.vocabulary * _LOGIT_ROWS
    context = model.kv_bytes_per_token * context_tokens + model.state_bytes * slots
    return weights_bytes + context + logits + _ENGINE_BASE_BYTES


def openvino_bytes(model: ModelFile, weights_bytes: int, context_tokens: int) -> int:
    """Predict the peak memory of the OpenVINO engine process in bytes.

    It reads the whole file and keeps copies of it in the layouts that its kernels need: 2.6 times the 16-bit file of
    the bundled model.
    """
    context = model.kv_bytes_per_token * context_tokens
    return int(_OPENVINO_COPIES * weights_bytes) + context + _OPENVINO_BASE_BYTES


def kv_tokens(model: ModelFile, slots: int, longest: int) -> int:
    """Return how many tokens of KV memory to allocate for `slots` slots of `longest` tokens each.

    The result stays within `KV_MEMORY_BYTES`, but is never less than `longest`.
    """
    return max(longest, min(slots * longest, KV_MEMORY_BYTES // max(1, model.kv_bytes_per_token)))


def training_bytes(model: ModelFile) -> int:
    """Return a lower bound of the trainer process's memory in bytes.

    It counts the libraries, the file's packed blocks, and the unpacked embeddings and output head.
    """
    return (
        _TRAINER_BASE_BYTES
        + model.size_bytes
        + 2 * _TRAINER_BYTES_PER_EMBEDDING * model.vocabulary * model.embedding_length
    )


ALL_LAYERS = 999
"""More layers than any model has: all of them and the output layer."""
_FREE_SHARE = 0.25
"""Share of a card's memory to leave free: the trainer starts after the engine has ended, but a driver context stays."""


def layers_that_fit(model: ModelFile, weights_bytes: int, kv_bytes: int, gpu: Gpu) -> int:
    """Return how many of the model's layers fit on the card together with their KV memory.

    weights_bytes, kv_bytes: sizes for the whole model. Returns `ALL_LAYERS` if the whole model fits, its output layer
    included, or if the card's memory is unknown.
    """
    if gpu.memory_bytes is None:
        return ALL_LAYERS
    room = gpu.memory_bytes * (1 - _FREE_SHARE)
    if weights_bytes + kv_bytes <= room:
        return ALL_LAYERS
    bytes_per_layer = (weights_bytes + kv_bytes) / (model.block_count + 1)
    return min(model.block_count, int(room / bytes_per_layer))
