"""Write the folder of MLX weights that holds the values of a GGUF file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx

from conself_local.model_files.gguf_weights import read_weights
from conself_local.model_files.model_file import ModelFile
from conself_local.training.mlx_backend import load_mlx_model


def write_mlx_of_gguf(model: ModelFile, path: Path, dtype: mx.Dtype, *, tokenizer: bool = True) -> Path:
    """Write the folder with mlx-lm's own functions, and return `path`.

    dtype: number format of the values. tokenizer: write the file's own; otherwise one that nothing can read.
    """
    from mlx_lm.utils import save_config, save_model

    path.mkdir(parents=True, exist_ok=True)
    save_model(path, load_mlx_model(model, dtype))
    config: dict[str, Any] = {"model_type": model.architecture, "max_position_embeddings": model.context_length}
    if tokenizer:
        from transformers import AutoTokenizer

        loaded = AutoTokenizer.from_pretrained(model.path.parent, gguf_file=model.path.name)
        loaded.save_pretrained(path)
        config["eos_token_id"] = loaded.eos_token_id
    else:
        (path / "tokenizer.json").write_text("{}")
        (path / "tokenizer_config.json").write_text(json.dumps(dict(model.special_tokens)))
    (path / "chat_template.jinja").write_text(model.chat_template)
    save_config(read_weights(model).config | config, path / "config.json")
    return path
