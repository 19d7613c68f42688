"""Verify that a model can be trained here, before a round begins or a list says so. No weights are loaded.

Not covered: the memory that training needs (`memory.py`).
"""

from __future__ import annotations

from conself_local.errors import ConselfError
from conself_local.machine.mlx import verify_mlx
from conself_local.model_files.gguf_weights import read_weights
from conself_local.model_files.mlx_families import verify_mlx_family
from conself_local.model_files.mlx_folder import MlxFolder
from conself_local.model_files.model import Model, gguf_model


def verify_trainable(model: Model) -> None:
    """Raise ConselfError if the model cannot be trained: its architecture, its tensors, or a missing library."""
    if isinstance(model, MlxFolder):
        verify_mlx()
        verify_mlx_family(model)
    else:
        read_weights(gguf_model(model, "training"))


def verify_rank(model: Model, rank: int) -> None:
    """Raise ConselfError if a LoRA adapter of this rank would be larger than the linear maps that it changes."""
    if rank > model.embedding_length:
        raise ConselfError(
            f"training.lora_rank is {rank}, and {model.name} has only {model.embedding_length} dimensions",
            f"choose a rank of at most {model.embedding_length}; 16 is usual",
        )
