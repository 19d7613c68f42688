"""Predicts how much memory sampling and training take, before anything is loaded.

Sampling: the weights that are sampled from, 16-bit keys and values of the whole context, and llama.cpp's own buffers.
Training: a lower bound only; the trainer times and measures a short step before it begins
(`training/torch_backend/plan.py`).
Not done here: comparing the prediction with the free memory (`machine/room.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from conself_local.machine.gpu import Gpu
from conself_local.model_files.mlx_folder import MlxFolder
from conself_local.model_files.model import Model
from conself_local.model_files.model_file import ModelFile

_ENGINE_BASE_BYTES = 64 * 2**20
_LOGIT_ROWS = 192
"""Rows of logits that llama.cpp keeps room for, fitted to measured peaks (`tests/benchmarks/sampling_memory.py`)."""
_OPENVINO_COPIES = 2.6
_OPENVINO_BASE_BYTES = 512 * 2**20
_MLX_BASE_BYTES = 400 * 2**20
_TRAINER_BASE_BYTES = 800 * 2**20
_TRAINER_BYTES_PER_EMBEDDING = 6
KV_MEMORY_BYTES = 2**30
"""Limit for the keys and values of all slots together, unless a single slot at its longest needs more."""


_LAYOUT_STEP = 256


def padded_tokens(slot_tokens: int) -> int:
    """Return the length of the slot that llama.cpp allocates for this number of tokens: it pads to a multiple."""
    return -(-slot_tokens // _LAYOUT_STEP) * _LAYOUT_STEP


def sampling_bytes(model: Model, weights_bytes: int, context_tokens: int, slots: int) -> int:
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


def mlx_bytes(model: MlxFolder, context_tokens: int) -> int:
    """Predict the peak memory of the MLX engine process in bytes, if all slots are as long as they may be."""
    logits = 4 * model.vocabulary * _LOGIT_ROWS
    return model.size_bytes + model.kv_bytes_per_token * context_tokens + logits + _MLX_BASE_BYTES


def mlx_slots(model: MlxFolder, slots: int, longest: int, free: int | None) -> int:
    """Return how many of `slots` slots of `longest` tokens an MLX engine may fill at once; at least 1.

    free: bytes of free memory, half of which beside the weights may hold keys and values; None if it is not known.
    """
    room = KV_MEMORY_BYTES if free is None else max(KV_MEMORY_BYTES, (free - model.size_bytes) // 2)
    return max(1, min(slots, room // max(1, longest * model.kv_bytes_per_token)))


def kv_tokens(model: Model, slots: int, longest: int) -> int:
    """Return how many tokens of KV memory to allocate for `slots` slots of `longest` tokens each.

    The result stays within `KV_MEMORY_BYTES`, but is never less than `longest`.
    """
    return max(longest, min(slots * longest, KV_MEMORY_BYTES // max(1, model.kv_bytes_per_token)))


def training_bytes(model: Model, on_card: bool = False) -> int:
    """Return a lower bound of the trainer process's main memory in bytes.

    For a folder of MLX weights, it counts the libraries and the weights. Else it counts the libraries, the file's
    packed blocks, and the unpacked embeddings and output head. With a card, the blocks are read from the file and stay
    there, so that only the libraries are counted.
    """
    if isinstance(model, MlxFolder):
        return _TRAINER_BASE_BYTES + model.size_bytes
    if on_card:
        return 2 * _TRAINER_BASE_BYTES
    return (
        _TRAINER_BASE_BYTES
        + model.size_bytes
        + 2 * _TRAINER_BYTES_PER_EMBEDDING * model.vocabulary * model.embedding_length
    )


ALL_LAYERS = 999
"""More layers than any model has: all of them and the output layer."""
_FREE_SHARE = 0.25
"""Share of a card's memory to leave free if its free memory is not known; the desktop and drivers use some."""
_CARD_RESERVE_BYTES = 600 * 2**20
"""What a driver context and the buffers of llama.cpp take beside weights and keys and values."""


@dataclass(frozen=True)
class CardPlan:
    """What of a model is placed on a card."""

    layers: int
    """Number of layers; `ALL_LAYERS` with the output layer."""
    context_tokens: int
    """Tokens of KV memory over all slots."""
    host_share: float
    """Share of the weights that remains in main memory."""


def plan_card(model: ModelFile, weights_bytes: int, slots: int, longest: int, gpu: Gpu) -> CardPlan:
    """Return the layers and the KV memory for a card: all layers first, then as many tokens as fit beside them.

    longest: the most tokens of a slot. Fewer tokens than `slots * longest` mean fewer slots at once, never a shorter
    one. Layers that do not fit with the KV memory of one slot at its longest remain in main memory.
    """
    context_tokens = kv_tokens(model, slots, longest)
    room = card_room(gpu)
    token_bytes = max(1, model.kv_bytes_per_token)
    if room is not None and room >= weights_bytes + longest * token_bytes:
        context_tokens = max(longest, min(context_tokens, int(room - weights_bytes) // token_bytes))
    layers = layers_that_fit(model, weights_bytes, context_tokens * token_bytes, gpu)
    return CardPlan(layers, context_tokens, 1 - min(1.0, layers / (model.block_count + 1)))


def card_room(gpu: Gpu) -> float | None:
    """Return the bytes of a card that a model may take; None if its memory is not known."""
    if gpu.memory_bytes is None:
        return None
    if gpu.free_bytes is None:
        return gpu.memory_bytes * (1 - _FREE_SHARE)
    return max(0, gpu.free_bytes - _CARD_RESERVE_BYTES)


def layers_that_fit(model: ModelFile, weights_bytes: int, kv_bytes: int, gpu: Gpu) -> int:
    """Return how many of the model's layers fit on the card together with their KV memory.

    weights_bytes, kv_bytes: sizes for the whole model. Returns `ALL_LAYERS` if the whole model fits, its output layer
    included, or if the card's memory is unknown.
    """
    room = card_room(gpu)
    if room is None or weights_bytes + kv_bytes <= room:
        return ALL_LAYERS
    bytes_per_layer = (weights_bytes + kv_bytes) / (model.block_count + 1)
    return min(model.block_count, int(room / bytes_per_layer))
