"""List the architectures of MLX folders that can be trained, and verify that a folder is one of them.

A family is here if its loss and its gradients were compared with those of torch on tiny weights
(`tests/core/training/test_mlx_families.py`). Any other architecture that mlx-lm runs can be sampled and evaluated.
Source: mlx-lm, models/; read and restated.
"""

from __future__ import annotations

from conself_local.errors import ConselfError
from conself_local.model_files.mlx_folder import MlxFolder

MLX_FAMILIES = (
    "llama", "mistral", "qwen2", "qwen3", "smollm3", "granite", "phi3", "olmo2", "gemma2", "gemma3_text", "seed_oss",
    "ernie4_5",
)  # fmt: skip
"""`model_type` of the folders that can be trained."""


def verify_mlx_family(model: MlxFolder) -> None:
    """Raise ConselfError if a folder cannot be trained: its family is not known, or its maps have other names."""
    if model.architecture not in MLX_FAMILIES:
        raise ConselfError(
            f"the architecture {model.architecture} cannot be trained with MLX here",
            f"choose a model of the families {', '.join(MLX_FAMILIES)}; this one can still be sampled and evaluated",
        )
    if not model.stored.linears:
        raise ConselfError(
            f"{model.name} has no linear maps of the form that is trained here (model.layers.0.self_attn.q_proj)",
            "convert the model with mlx_lm.convert; this folder can still be sampled and evaluated",
        )
