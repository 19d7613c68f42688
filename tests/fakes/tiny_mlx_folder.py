"""Write a folder of MLX weights as mlx-lm writes it: random values, with the bundled model's tokenizer and template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conself_local.model_files.bundled import bundled_model

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "vocab_size": 49152,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
}
GROUP_SIZE = 32


def write_mlx_folder(path: Path, bits: int | None = None) -> Path:
    """Write the folder, and return `path`.

    bits: quantise the weights to this many bits; None leaves them as they are.
    """
    import mlx.core as mx
    import mlx.nn as nn
    from mlx.utils import tree_flatten, tree_map
    from mlx_lm.models.llama import Model, ModelArgs
    from transformers import AutoTokenizer

    path.mkdir(parents=True, exist_ok=True)
    bundled = bundled_model()
    AutoTokenizer.from_pretrained(bundled.parent, gguf_file=bundled.name).save_pretrained(path)
    mx.random.seed(3)
    model: Any = Model(ModelArgs(**CONFIG))
    model.update(tree_map(lambda w: w * 3, model.parameters()))
    quantization = {}
    if bits:
        quantize: Any = nn.quantize  # type: ignore[attr-defined]
        quantize(model, group_size=GROUP_SIZE, bits=bits)
        quantization = {"quantization": {"group_size": GROUP_SIZE, "bits": bits}}
    mx.save_safetensors(str(path / "model.safetensors"), dict(tree_flatten(model.parameters())))
    (path / "config.json").write_text(json.dumps(CONFIG | quantization))
    return path
