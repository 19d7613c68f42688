"""How much memory sampling and training will take, and whether it is there: told before anything is loaded.

Sampling: the weights that run, 16-bit keys and values of the whole context, and what llama.cpp needs beside them.
Training: what it takes at the least; the trainer itself times and measures a short step before it begins (`training/plan.py`).
"""

from __future__ import annotations

import shutil
from pathlib import Path

from conself_local.errors import ConselfError
from conself_local.machine.resources import available_memory_bytes
from conself_local.model_files.model_file import ModelFile

_ENGINE_BASE_BYTES = 64 * 2**20
_LOGIT_ROWS = 192
"""Fitted to measured peaks (`tests/benchmarks/sampling_memory.py`): rows of logits that llama.cpp keeps room for."""
_TRAINER_BASE_BYTES = 800 * 2**20
_TRAINER_BYTES_PER_EMBEDDING = 6
KV_MEMORY_BYTES = 2**30
"""What keys and values of all slots together may take, unless one long prompt alone needs more."""
DISK_NEEDED_BYTES = 200 * 2**20


def sampling_bytes(model: ModelFile, weights: Path, context_tokens: int) -> int:
    """Predicted peak of the engine process: weights, KV memory, logits, the process itself."""
    logits = 4 * model.vocabulary * _LOGIT_ROWS
    return weights.stat().st_size + model.kv_bytes_per_token * context_tokens + logits + _ENGINE_BASE_BYTES


def kv_tokens(model: ModelFile, slots: int, longest: int) -> int:
    """How many tokens of KV memory to ask for: every slot at its longest, within `KV_MEMORY_BYTES`; at least one slot."""
    return max(longest, min(slots * longest, KV_MEMORY_BYTES // model.kv_bytes_per_token))


def training_bytes(model: ModelFile) -> int:
    """The least that the trainer process takes: its libraries, the file's blocks, embeddings and output head unpacked."""
    return _TRAINER_BASE_BYTES + model.size_bytes + 2 * _TRAINER_BYTES_PER_EMBEDDING * model.vocabulary * model.embedding_length


def verify_memory(what: str, needed: int, hint: str) -> None:
    available = available_memory_bytes()
    if available is not None and needed > available:
        raise ConselfError(f"{what} needs about {gib(needed)}, and {gib(available)} are free", hint)


def verify_disk(folder: Path, what: str = "a round", needed: int = DISK_NEEDED_BYTES) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ConselfError(
            f"only {free >> 20} MiB are free on the disk of {folder}; {what} needs {needed >> 20} MiB",
            "make room, or choose another disk with --home DIR",
        )


def gib(n: int) -> str:
    return f"{n / 2**30:.1f} GiB"
