"""Write a folder that has all that is checked of a folder of MLX weights, with tiny weights that no library loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 16,
    "max_position_embeddings": 128,
}
TEMPLATE = "{{ bos_token }}{{ messages[0]['content'] }}"


def write_bare_folder(path: Path, *, parts: int = 1) -> Path:
    """Write the folder, its weights in `parts` files with an index, and return `path`."""
    path.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(2)
    shapes = {"self_attn.q_proj": (8, 8), "self_attn.k_proj": (4, 8), "mlp.down_proj": (8, 12)}
    tensors = {
        f"model.layers.{layer}.{name}.weight": random.standard_normal(shape).astype(np.float32)
        for layer in range(2)
        for name, shape in shapes.items()
    }
    tensors["model.embed_tokens.weight"] = random.standard_normal((16, 8)).astype(np.float16)
    names = (
        ["model.safetensors"] if parts == 1 else [f"model-{n + 1:05d}-of-{parts:05d}.safetensors" for n in range(parts)]
    )
    where = {name: names[i % parts] for i, name in enumerate(sorted(tensors))}
    for file in names:
        save_file({name: tensors[name] for name, inside in where.items() if inside == file}, path / file)
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    (path / "config.json").write_text(json.dumps(CONFIG))
    (path / "tokenizer.json").write_text("{}")
    (path / "tokenizer_config.json").write_text(json.dumps({"bos_token": {"content": "<s>"}, "eos_token": "</s>"}))
    (path / "chat_template.jinja").write_text(TEMPLATE)
    return path
