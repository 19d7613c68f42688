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


_SCALED = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
_MORE: dict[str, dict[str, Any]] = {
    "llama 3": {"rope_parameters": _SCALED | {"original_max_position_embeddings": 16}},
    "gemma3_text": {"num_hidden_layers": 6, "head_dim": 16, "sliding_window": 64, "query_pre_attn_scalar": 16},
    "gemma2": {"head_dim": 16, "sliding_window": 64, "query_pre_attn_scalar": 16},
    "granite": {
        "logits_scaling": 4.0,
        "residual_multiplier": 0.5,
        "embedding_multiplier": 3.0,
        "attention_multiplier": 0.2,
    },
    "qwen3": {"head_dim": 16},
    "seed_oss": {"head_dim": 16, "attention_bias": True, "attention_out_bias": False},
    "smollm3": {"no_rope_layer_interval": 2},
    "phi3": {"pad_token_id": 0},
}
"""Family -> values of its configuration that matter beside the usual ones."""


def write_family_folder(path: Path, family: str) -> Path:
    """Write a tiny random model of a family as transformers writes it, with a tokenizer that nothing reads.

    family: a model type, or `llama 3` for scaled positions.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    shape = {key: value for key, value in CONFIG.items() if key not in ("model_type", "rope_theta")}
    shape |= {
        "vocab_size": 96,
        "max_position_embeddings": 256,
        "tie_word_embeddings": family in ("gemma2", "gemma3_text", "qwen2"),
    }
    tokens = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(family.partition(" ")[0], **shape | tokens | _MORE.get(family, {}))
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    model.float().save_pretrained(path)
    config = json.loads((path / "config.json").read_text())
    ropes = config.get("rope_parameters") or {}
    if "rope_theta" in ropes:
        config |= {"rope_theta": ropes["rope_theta"]}
    if ropes.get("rope_type", "default") != "default":
        config |= {"rope_scaling": ropes}
    (path / "config.json").write_text(json.dumps(config))
    (path / "tokenizer.json").write_text("{}")
    (path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages[0]['content'] }}"}))
    return path
